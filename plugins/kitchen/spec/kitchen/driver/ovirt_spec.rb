# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt do
  def code(name)
    GRPC::Core::StatusCodes.const_get(name)
  end

  around do |example|
    path = File.join(folder, "daemon.sock")
    Support::FakeDaemon.serve(path) do |fake|
      @fake = fake
      with_environment("OVIRT_PROVISION_ADDRESS" => "unix:#{path}", "OVIRT_URL" => "") { example.run }
    end
  end

  let(:fake) { @fake }
  let(:state) { {} }
  let(:transport) { Support::Instances::Transport.new }

  def driver(config = {})
    @driver ||= make_driver(config, transport: transport)
  end

  # Kitchen's file may be read while it is written.
  def saved_by_now
    saved
  rescue Kitchen::StandardError, Psych::Exception
    {}
  end

  it "speaks version 2 of Kitchen's driver interface and tells its own version" do
    expect(described_class.diagnose).to include(api_version: 2, version: Kitchen::Driver::OVIRT_VERSION)
  end

  describe "configuration" do
    it "has defaults that make an instance of any platform" do
      expect(driver.diagnose).to include(
        template: "debian-12", cpus: nil, memory: nil, full_clone: false, engine: nil,
        username: "kitchen", hostname: "web-debian-12"
      )
    end

    it "takes the platform's name as the template's" do
      expect(make_driver[:template]).to eq("debian-12")
    end

    it "asks for a template when there is none" do
      expect do
        make_driver({ template: "" })
      end.to raise_error(Kitchen::UserError, /template\] cannot be blank.*template_id/)
    end

    it "expands the path of a key and takes the transport's" do
      transport = Support::Instances::Transport.new({ ssh_key: "/keys/mine" })
      expect(make_driver({ ssh_key: "keys/id" })[:ssh_key]).to eq(File.join(folder, "keys/id"))
      expect(make_driver({}, transport: transport)[:ssh_key]).to eq("/keys/mine")
    end

    it "is finalized without a trace" do
      driver
      expect(Dir.children(folder)).to contain_exactly("daemon.sock")
      expect(fake.asked).to be_empty
    end

    it "names an option that it does not know and the nearest one" do
      driver(cpu: 2).create(state)
      expect(console).to include("no option 'cpu'; did you mean 'cpus'?")
    end

    it "knows every option that Kitchen sets by itself" do
      driver.create(state)
      expect(console).not_to include("no option")
    end
  end

  describe "#create" do
    it "makes a machine, waits for its transport and confirms it" do
      driver.create(state)
      expect(state).to include(hostname: "10.11.0.1", username: "kitchen", vm_id: fake.machine.id,
                               vm_name: "vm")
      expect(fake.asked.map(&:first) & %i[CreateMachine
                                          ConfirmMachine]).to eq(%i[CreateMachine ConfirmMachine])
      expect(transport.connections).to contain_exactly(include(hostname: "10.11.0.1",
                                                               ssh_key: state[:ssh_key]))
      expect(fake.requests(:ConfirmMachine).first.key).to eq(state[:machine_key])
    end

    it "makes a key for the instance that only its user can read" do
      driver.create(state)
      expect(File.stat(state[:ssh_key]).mode & 0o777).to eq(0o600)
      keys = fake.requests(:CreateMachine).first.start_with.authorized_ssh_keys
      expect(keys).to contain_exactly(start_with("ecdsa-sha2-nistp256 "))
    end

    it "keeps no secret in the state" do
      driver(custom_script: "password: canary").create(state)
      expect(saved.to_s).not_to include("canary", "PRIVATE KEY")
    end

    it "has written down what to destroy before it asks for it" do
      fake.on(:CreateMachine) do
        @known = saved
        fake.refuse(code(:INTERNAL), message: "no")
      end
      expect { driver.create(state) }.to raise_error(Kitchen::ActionFailed)
      expect(@known).to include(machine_key: state[:machine_key])
      driver.destroy(state)
      expect(fake.requests(:DestroyMachine).map(&:key)).to eq([@known[:machine_key]])
    end

    it "saves the VM's id as soon as the daemon tells it" do
      fake.on(:WatchOperation) do
        Enumerator.new do |replies|
          replies << fake.watch(fake.success[0, 2]).last
          sleep(0.01) until (@known = saved_by_now)[:vm_id]
          replies << fake.watch(fake.success).last
        end
      end
      driver.create(state)
      expect(@known).to include(vm_id: fake.machine.id)
    end

    it "renews the session while it waits for the transport, and confirms only afterwards" do
      renewed = Queue.new
      fake.on(:RenewLease) do
        renewed.push(true) && OvirtProvision::V1::RenewLeaseResponse.new(renew_interval: { seconds: 30 })
      end
      @driver = make_driver({}, transport: Support::Instances::Transport.new do
                                             renewed.pop && @seen = fake.requests(:ConfirmMachine).size
                                           end)
      driver.create(state)
      expect(@seen).to eq(0)
      expect(fake.requests(:ConfirmMachine).size).to eq(1)
    end

    it "leaves the lease unconfirmed when the transport is never ready" do
      @driver = make_driver({}, transport: Support::Instances::Transport.new do
                                             raise Kitchen::TransientFailure, "no route to host"
                                           end)
      expect { driver.create(state) }.to raise_error(Kitchen::TransientFailure)
      expect(console).to include("ERROR").and include("no route to host")
      expect(fake.requests(:ConfirmMachine)).to be_empty
      expect(saved).to include(machine_key: state[:machine_key])
    end

    it "tells all that is wrong with a request, by the names of its options, on the console as well" do
      fake.on(:CreateMachine) do
        fake.refuse(code(:INVALID_ARGUMENT), message: "refused", violations: [
                      { field: "spec.template.name",
                        description: "no template 'debain-12'; did you mean 'debian-12'?" },
                      { field: "spec.nics[0].vnic_profile", description: "no vNIC profile 'x'" },
                      { field: "start_with.host_name", description: "too long" }
                    ])
      end
      lines = ["* template: no template 'debain-12'; did you mean 'debian-12'?",
               "* nics[0].vnic_profile: no vNIC profile 'x'", "* hostname: too long"]
      expect { driver.create(state) }.to raise_error(Kitchen::ActionFailed) { |e|
                                           expect(e.message).to include(*lines)
                                         }
      expect(console).to include("ERROR", *lines)
    end

    it "tells the engine's own words when the operation fails" do
      failed = { code: 9, message: "The VM was not started", phase: "booting",
                 engine_text: "no host has room", advice: "Free memory." }
      fake.on(:WatchOperation) { fake.watch([fake.operation(:STATE_FAILED, 2, error: failed)]) }
      expect do
        driver.create(state)
      end.to raise_error(Kitchen::ActionFailed, /not started.*booting.*no host has room.*Free memory/m)
    end

    it "tells all that is wrong with its own configuration" do
      driver(cpus: "two", memory: "much", nics: ["nic1"])
      expect do
        driver.create(state)
      end.to raise_error(Kitchen::UserError, /cpus: "two".*memory: "much".*nics\[0\]: "nic1"/m)
      expect(fake.requests(:CreateMachine)).to be_empty
    end

    it "watches again when the daemon drains, from where it was" do
      streams = 0
      fake.on(:WatchOperation) do |request|
        raise GRPC::Unavailable, "draining" if (streams += 1) == 1

        @after = request.after_revision
        fake.watch(fake.success)
      end
      driver.create(state)
      expect(@after).to eq(1)
      expect(state).to include(hostname: "10.11.0.1")
    end

    it "asks for the same machine again when the daemon was away during the call" do
      fake.on(:CreateMachine) do
        raise GRPC::Unavailable, "starting" if fake.requests(:CreateMachine).size == 1

        OvirtProvision::V1::CreateMachineResponse.new(operation: fake.operation(:STATE_RUNNING, 1))
      end
      driver.create(state)
      expect(fake.requests(:CreateMachine).map(&:request_id).uniq.size).to eq(1)
    end

    it "cancels the operation when it is interrupted" do
      begun = Queue.new
      fake.on(:WatchOperation) do
        Enumerator.new do |replies|
          (replies << fake.watch(fake.success).first) && begun.push(true) && sleep
        end
      end
      creating = Thread.new { driver.create(state) }
      begun.pop
      creating.kill.join
      expect(fake.requests(:CancelOperation).map(&:id)).to eq([Support::FakeDaemon::ID])
      expect(state).to include(:machine_key)
    end

    it "leaves a machine that stands as it is" do
      2.times { driver.create(state) }
      expect(fake.requests(:CreateMachine).size).to eq(1)
    end

    it "starts a machine that stands but is down" do
      driver.create(state)
      fake.on(:GetMachine) do
        OvirtProvision::V1::GetMachineResponse.new(machine: fake.machine(status: :STATUS_DOWN))
      end
      driver.create(state)
      expect(fake.requests(:StartMachine).size).to eq(1)
    end

    it "makes a machine anew that was removed behind its back" do
      driver.create(state)
      fake.on(:GetMachine) { fake.refuse(code(:NOT_FOUND), message: "no machine") }
      driver.create(state)
      expect(fake.requests(:CreateMachine).size).to eq(2)
    end

    it "runs pre_create_command first, and nothing else when that fails" do
      driver(pre_create_command: "false")
      expect { driver.create(state) }.to raise_error(Kitchen::ActionFailed, /pre_create_command/)
      expect(fake.asked).to be_empty
    end

    it "does not stand in the way of others" do
      names = %w[a b c d]
      states = names.map do |name|
        Thread.new do
          {}.tap do |mine|
            make_driver({}, name: name).create(mine)
          end
        end
      end.map(&:value)
      expect(states.map { |mine| mine[:machine_key] }.uniq.size).to eq(4)
      expect(names.map { |name| saved(name)[:ssh_key] }.uniq.size).to eq(4)
    end
  end

  describe "#destroy" do
    it "asks nobody when nothing was begun" do
      driver.destroy(state)
      expect(fake.asked).to be_empty
    end

    it "removes the machine, its key and what it knew of it" do
      driver.create(state)
      key = state[:ssh_key]
      driver.destroy(state)
      expect(state).to be_empty
      expect(File).not_to exist(key)
    end

    it "leaves the user's own key alone" do
      mine = File.join(folder, "mine")
      File.write(mine, OpenSSL::PKey::EC.generate("prime256v1").to_pem)
      driver(ssh_key: mine).create(state)
      driver.destroy(state)
      expect(File).to exist(mine)
    end

    it "destroys on the engine on which it was made" do
      driver(engine: "lab").create(state)
      make_driver({ engine: "other" }).destroy(state)
      expect(fake.requests(:DestroyMachine).map { |request| request.engine.profile }).to eq(["lab"])
    end

    it "forgets nothing when it fails" do
      driver.create(state)
      fake.on(:DestroyMachine) { fake.refuse(code(:FAILED_PRECONDITION), message: "another shell's engine") }
      expect { driver.destroy(state) }.to raise_error(Kitchen::ActionFailed, /another shell's engine/)
      expect(state).to include(:machine_key, :vm_id)
    end

    it "says that no daemon is there and how to have one, and forgets nothing" do
      state[:machine_key] = "k"
      with_environment("OVIRT_PROVISION_ADDRESS" => "unix:#{folder}/nobody.sock") do
        expect do
          driver.destroy(state)
        end.to raise_error(Kitchen::ActionFailed, /no daemon listens.*ovirt-provision serve/)
      end
      expect(console).to include("no daemon listens")
      expect(state).to include(machine_key: "k")
    end
  end

  describe "#doctor" do
    it "finds nothing where all is well, and leaves no trace" do
      expect(driver.doctor(state)).to be(false)
      expect(console).to include("The log-in works.")
      expect(Dir.children(folder)).to contain_exactly("daemon.sock")
    end

    it "has all that create would name looked up, and makes nothing" do
      fake.on(:CreateMachine) do
        fake.refuse(code(:FAILED_PRECONDITION), message: "refused", violations: [
                      { field: "spec.template.name", description: "no template 'debain-12'" },
                      { field: "spec.cluster", description: "no cluster 'Defualt'" }
                    ])
      end
      expect(driver(template: "debain-12", cluster: "Defualt").doctor(state)).to be(true)
      expect(console).to include("* template: no template 'debain-12'", "* cluster: no cluster 'Defualt'")
      expect(fake.requests(:CreateMachine).map(&:validate_only)).to eq([true])
      expect(state).to be_empty
    end

    it "tells the problems of the engine with advice, and each once" do
      finding = { name: "login", severity: :SEVERITY_PROBLEM, summary: "refused",
                  advice: "Correct OVIRT_PASSWORD." }
      fake.on(:ExamineEngine) { OvirtProvision::V1::ExamineEngineResponse.new(findings: [finding]) }
      fake.on(:CreateMachine) { fake.refuse(code(:UNAUTHENTICATED), message: "cannot log in") }
      expect(driver.doctor(state)).to be(true)
      expect(console).to include("login: refused Correct OVIRT_PASSWORD.")
      expect(console).not_to include("cannot log in")
    end

    it "tells what the examination did not see" do
      fake.on(:CreateMachine) { fake.refuse(code(:PERMISSION_DENIED), message: "not yours") }
      expect(driver.doctor(state)).to be(true)
      expect(console).to include("not yours")
    end

    it "tells what is wrong with the configuration" do
      expect(driver(memory: "much").doctor(state)).to be(true)
      expect(console).to include("memory")
    end

    it "finds that there is no daemon" do
      with_environment("OVIRT_PROVISION_ADDRESS" => "unix:#{folder}/nobody.sock") do
        expect(driver.doctor(state)).to be(true)
      end
    end
  end

  describe "#status" do
    it "asks nobody about what was never created" do
      expect(driver.status(state)).to include(live: false, state: "not created")
      expect(fake.asked).to be_empty
    end

    it "tells how the machine is" do
      state[:machine_key] = "k"
      expect(driver.status(state)).to include(live: true, state: "up", resource_id: fake.machine.id)
      fake.on(:GetMachine) { fake.refuse(code(:NOT_FOUND), message: "no machine") }
      expect(driver.status(state)).to include(live: false, state: "gone")
      fake.on(:GetMachine) do
        fake.refuse(code(:UNAVAILABLE), reason: "ENGINE_DOWN", message: "the engine is down")
      end
      expect(driver.status(state)).to include(live: nil, state: "unknown",
                                              message: include("the engine is down"))
    end
  end
end
