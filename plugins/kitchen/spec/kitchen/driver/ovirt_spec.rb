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

  it "loads no gRPC before it asks the daemon" do
    paths = $LOAD_PATH.map { |path| "-I#{path}" }
    script = 'require "kitchen"; require "kitchen/driver/ovirt"; print $LOADED_FEATURES.grep(/grpc|protobuf/).size'
    expect(Open3.capture2(RbConfig.ruby, *paths, "-rtime", "-e", script).first).to eq("0")
  end

  describe "configuration" do
    {
      pre_create_command: nil, engine: nil, template: "debian-12", template_id: nil, template_version: nil, full_clone: false,
      vm_name: nil, vm_name_prefix: nil, cluster: nil, cpus: nil, memory: nil, boot_disk: nil, boot_disk_size: nil, nics: nil,
      hostname: "web-debian-12", username: "kitchen", ssh_key: nil,
      nic_configurations: [{ name: "eth0", boot_protocol: "dhcp" }], dns_servers: nil, dns_search_domains: nil,
      guaranteed_memory: nil, instance_type: nil, template_disks: nil, disks: nil, attached_disks: nil, storage_domain: nil,
      bios_type: nil, tpm: nil, virtio_scsi: nil, virtio_scsi_multi_queues: nil, nic_multi_queues: nil, placement: nil,
      affinity_groups: nil, affinity_labels: nil, quota: nil, custom_properties: nil, tags: nil,
      operating_system: nil, vnc_console: nil, start_media: nil,
      time_zone: nil, ssh_password_authentication: nil, ignition: nil, sysprep: nil, files: nil, address_selection: nil,
      user_data: nil, cloud_config: nil, ttl: nil, timeouts: nil, on_failure: "destroy", package: {}
    }.each do |option, default|
      it "has #{default.inspect} as default of #{option}" do
        expect(driver[option]).to eq(default)
      end

      it "takes another #{option}" do
        next if option == :sysprep

        other = option == :ssh_key ? "/other" : "other"
        expect(driver(option => other)[option]).to eq(other)
      end
    end

    it "says in the engine whose the VM is" do
      whose = "#{Etc.getpwuid.name}@#{Socket.gethostname}:#{folder}"
      expect(driver[:description]).to eq("Test Kitchen instance web-debian-12 of #{whose}")
    end

    it "has no option that is not tested here" do
      tested = self.class.examples.filter_map { |example| example.description[/default of (\w+)\z/, 1]&.to_sym }
      expect(described_class.defaults.keys - [:description]).to match_array(tested)
    end

    it "needs no template but its id" do
      expect(driver(template_id: "x")[:template]).to be_nil
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

    it "refuses an option that resembles one of its own" do
      expect { driver(cpu: 2).create(state) }.to raise_error(Kitchen::UserError, /cpu: .*did you mean 'cpus'\?/)
      expect(fake.requests(:CreateMachine)).to be_empty
    end

    it "tells of an option that resembles nothing, and leaves it alone" do
      driver(vagrant_box: "x").create(state)
      expect(console).to include("no option 'vagrant_box'")
    end

    it "shows nobody what may be secret" do
      expect(driver(user_data: "password: canary\n").diagnose.to_s).not_to include("canary")
      expect(driver.diagnose).to include(user_data: "(given)", cloud_config: nil, sysprep: nil, username: "kitchen")
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
      driver(user_data: "password: canary\n").create(state)
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

    describe "whose transport is never ready" do
      let(:transport) do
        Support::Instances::Transport.new { raise Kitchen::TransientFailure, "no route to host" }
      end

      it "is destroyed" do
        expect { driver.create(state) }.to raise_error(Kitchen::TransientFailure, "no route to host")
        expect(console).to include("ERROR", "no route to host", "is destroyed, because on_failure is destroy")
        expect(fake.requests(:ConfirmMachine)).to be_empty
        expect(fake.requests(:DestroyMachine).size).to eq(1)
        expect(saved).not_to include(:machine_key)
      end

      { "keep" => [], "stop" => [:StopMachine] }.each do |on_failure, calls|
        it "stays where on_failure is #{on_failure}, and can be destroyed" do
          expect { driver(on_failure: on_failure, ttl: "1h").create(state) }.to raise_error(Kitchen::TransientFailure)
          expect(fake.asked.map(&:first) & %i[StopMachine DestroyMachine]).to eq(calls)
          expect(fake.requests(:ConfirmMachine).map { |request| request.ttl.seconds }).to eq([3600])
          expect(console).to include("is kept as VM vm", "`kitchen destroy` removes it")
          expect(saved).to include(machine_key: state[:machine_key])
          driver.destroy(state)
          expect(fake.requests(:DestroyMachine).size).to eq(1)
        end
      end

      it "stays where it stood before" do
        state.merge!(machine_key: "k", hostname: "10.11.0.1")
        expect { driver.create(state) }.to raise_error(Kitchen::TransientFailure)
        expect(fake.requests(:DestroyMachine)).to be_empty
      end

      it "is left to its lease where it cannot be destroyed" do
        fake.on(:DestroyMachine) { fake.refuse(code(:INTERNAL), message: "broken") }
        expect { driver.create(state) }.to raise_error(Kitchen::TransientFailure, "no route to host")
        expect(console).to include("broken", "`kitchen destroy` removes the VM")
        expect(saved).to include(machine_key: state[:machine_key])
      end
    end

    it "is destroyed where it reports no address, and no transport is tried" do
      fake.on(:WatchOperation) { fake.watch([fake.operation(:STATE_SUCCEEDED, 3, machine: fake.machine(addresses: []))]) }
      expect { driver.create(state) }.to raise_error(Kitchen::ActionFailed, /VM vm, reports no address/)
      expect(transport.connections).to be_empty
      expect(fake.requests(:DestroyMachine).size).to eq(1)
    end

    it "lives as long as its ttl" do
      driver(ttl: "8h").create(state)
      expect(fake.requests(:ConfirmMachine).map { |request| request.ttl.seconds }).to eq([28_800])
    end

    it "tells its phases with seconds, and each position in the queue" do
      phases = [{ name: "cloning", start_time: { seconds: 10 }, end_time: { seconds: 12, nanos: 500_000_000 } },
                { name: "booting", start_time: { seconds: 13 } }]
      fake.on(:WatchOperation) do
        fake.watch([fake.operation(:STATE_RUNNING, 2, phase: "queued", progress: "position 3 of 12"),
                    fake.operation(:STATE_RUNNING, 3, phase: "queued", progress: "position 2 of 12"),
                    fake.operation(:STATE_RUNNING, 4, phase: "cloning"),
                    fake.operation(:STATE_SUCCEEDED, 5, machine: fake.machine, phases: phases)])
      end
      driver.create(state)
      expect(console.scan(/<web-debian-12> (.*)/).flatten).to include(
        /\Aqueued, position 3 of 12\.\.\. \(\d+ s\)\z/, /\Aqueued, position 2 of 12/, /\Acloning\.\.\. \(\d+ s\)\z/,
        "cloning 2.5 s"
      )
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
      expect { driver.create(state) }.to raise_error(Kitchen::UserError) { |e| expect(e.message).to include(*lines) }
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

    it "remembers the address of a machine that stands and reports none" do
      driver.create(state)
      fake.on(:GetMachine) { OvirtProvision::V1::GetMachineResponse.new(machine: fake.machine(addresses: [])) }
      driver.create(state)
      expect(transport.connections.map { |to| to[:hostname] }).to eq(["10.11.0.1"] * 2)
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
    it "asks but for a machine of its key when nothing was begun" do
      fake.on(:GetMachine) { fake.refuse(code(:NOT_FOUND), message: "no machine") }
      driver.destroy(state)
      expect(fake.asked.map(&:first) - %i[Check]).to eq(%i[GetMachine])
    end

    it "starts no daemon when nothing was begun" do
      with_environment("OVIRT_PROVISION_ADDRESS" => nil, "XDG_RUNTIME_DIR" => folder, "PATH" => "/nowhere") do
        expect { driver.destroy(state) }.not_to raise_error
      end
      expect(fake.asked).to be_empty
    end

    it "destroys a machine of which the state was lost" do
      driver.create({})
      FileUtils.rm_rf(File.join(folder, ".kitchen"))
      driver.destroy(state)
      expect(fake.requests(:DestroyMachine).map(&:key)).to eq(fake.requests(:CreateMachine).map(&:key))
      expect(state).to be_empty
    end

    it "does not fail when nothing was begun and the daemon cannot tell" do
      fake.on(:GetMachine) { fake.refuse(code(:UNAVAILABLE), reason: "ENGINE_DOWN", message: "the engine is down") }
      driver.destroy(state)
      expect(console).to include("is not known: the engine is down")
      expect(fake.requests(:DestroyMachine)).to be_empty
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

  describe "on Windows" do
    def windows(config = {}, transport: Support::Instances::Transport.new({ username: "administrator", password: "canary" },
                                                                          name: "Winrm"))
      @driver = make_driver(config, name: "web-windows-2022", transport: transport, os_type: "windows")
    end

    def start_with
      fake.requests(:CreateMachine).first.start_with
    end

    it "is set up by sysprep, with the password that WinRM logs in with, which is written nowhere" do
      windows.create(state)
      expect(start_with.sysprep.admin_password).to eq("canary")
      expect(start_with.to_h.slice(:user_name, :authorized_ssh_keys, :nic_configurations).values).to all(be_empty)
      expect(start_with.host_name).to match(/\Aweb-wind-\h{6}\z/)
      expect(state).to include(username: "administrator", hostname: "10.11.0.1")
      expect(state).not_to include(:ssh_key)
      expect([saved("web-windows-2022").to_s, console, @driver.diagnose.to_s].join).not_to include("canary")
    end

    it "takes a key for SSH that the template knows, and forces no password" do
      mine = File.join(folder, "mine")
      windows({ ssh_key: mine }, transport: Support::Instances::Transport.new).create(state)
      expect(start_with.sysprep.admin_password).to eq("")
      expect(state).to include(username: "Administrator", ssh_key: mine)
    end

    it "says that it takes a key or a password" do
      windows({}, transport: Support::Instances::Transport.new)
      expect { @driver.create(state) }.to raise_error(Kitchen::UserError, /ssh_key: is needed, since Windows is given none/)
      expect(Dir.glob(File.join(folder, ".kitchen/*.pem"))).to be_empty
    end

    it "is started as it is where sysprep is off" do
      windows({ sysprep: false }).create(state)
      expect(start_with).to eq(OvirtProvision::V1::Initialization.new)
    end

    it "takes an answer file and all else of sysprep" do
      File.write(File.join(folder, "unattend.xml"), "<unattend/>")
      windows({ sysprep: { unattend_xml: "unattend.xml", admin_password: "other", domain: "lab" },
                time_zone: "UTC" }).create(state)
      expect(start_with.sysprep.to_h).to include(unattend_xml: "<unattend/>", admin_password: "other", domain: "lab")
      expect(start_with.time_zone).to eq("UTC")
    end

    it "leaves nothing out that was asked for" do
      windows({ dns_servers: ["10.0.0.1"] }).create(state)
      expect(start_with.dns_servers.to_a).to eq(["10.0.0.1"])
    end
  end

  describe "#package" do
    before { driver.create(state) }

    def calls
      fake.asked.map(&:first) & %i[StopMachine CreateTemplate StartMachine]
    end

    it "seals the instance, down, into the next version of the template, and has it run again" do
      driver.package(state)
      expect(calls).to eq(%i[CreateTemplate StopMachine StartMachine])
      made = { machine_key: state[:machine_key], name: "web-debian-12", new_version: true, seal: true }
      expect(fake.requests(:CreateTemplate).map(&:to_h))
        .to match([include(**made, validate_only: true), include(**made, validate_only: false)])
      expect(console).to include("is packaged as template web-debian-12 version 2 (#{Support::FakeDaemon::TEMPLATE})")
    end

    it "makes the template that is not there" do
      fake.on(:ListTemplates) { OvirtProvision::V1::ListTemplatesResponse.new }
      make_driver({ package: { version_name: "v", keep_versions: 2 } }).package(state)
      expect(fake.requests(:CreateTemplate).map { |request| [request.new_version, request.version_name, request.keep_versions] })
        .to eq([[false, "", 0]] * 2)
    end

    it "leaves an instance down that was" do
      fake.on(:GetMachine) { OvirtProvision::V1::GetMachineResponse.new(machine: fake.machine(status: :STATUS_DOWN)) }
      driver.package(state)
      expect(calls).to eq(%i[CreateTemplate])
    end

    it "replaces a template where it is told to" do
      make_driver({ package: { replace: true } }).package(state)
      expect(fake.requests(:CreateTemplate).map { |request| [request.new_version, request.replace] }).to eq([[false, true]] * 2)
    end

    it "tells what is wrong by the option, before it stops the instance" do
      fake.on(:CreateTemplate) do
        fake.refuse(code(:INVALID_ARGUMENT), message: "no", violations: [{ field: "version_name", description: "too long" }])
      end
      expect { driver.package(state) }.to raise_error(Kitchen::UserError, /package\.version_name: too long/)
      expect(calls).to eq(%i[CreateTemplate])
    end

    it "has the instance run again when it fails, and tells warnings" do
      fake.on(:CreateTemplate) do |request|
        failed = fake.operation(:STATE_FAILED, 1, error: { code: 9, message: "the disk is full" })
        OvirtProvision::V1::CreateTemplateResponse.new(operation: request.validate_only ? nil : failed)
      end
      expect { driver.package(state) }.to raise_error(Kitchen::ActionFailed, /the disk is full/)
      expect(calls.last).to eq(:StartMachine)
    end

    it "tells what did not go as asked" do
      fake.on(:CreateTemplate) do |request|
        made = fake.operation(:STATE_SUCCEEDED, 1, template: fake.template, warnings: ["version 1 is in use and stays"])
        OvirtProvision::V1::CreateTemplateResponse.new(operation: request.validate_only ? nil : made)
      end
      driver.package(state)
      expect(console).to include("version 1 is in use and stays")
    end

    it "writes down the address that the instance has afterwards" do
      fake.on(:WatchOperation) do
        fake.watch([fake.operation(:STATE_SUCCEEDED, 3, machine: fake.machine(addresses: [{ ip: "10.11.0.99" }]))])
      end
      driver.package(state)
      expect(saved).to include(hostname: "10.11.0.99")
    end
  end

  it "packages nothing that is not there" do
    expect { driver.package(state) }.to raise_error(Kitchen::UserError, /not created.*kitchen create/)
    expect(fake.asked).to be_empty
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
      expect(console).to include("login: refused. Correct OVIRT_PASSWORD.")
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

    it "tells which daemon answers, and what of the configuration the engine has" do
      driver(cluster: "Default", nics: [{ name: "nic1", vnic_profile: "lab" }]).doctor(state)
      expect(console).to include("daemon: answers at unix:#{folder}/daemon.sock, version 0.1.0, state in /state",
                                 "the engine has template debian-12, cluster Default, vNIC profiles lab")
    end

    { 0 => nil, 60 => "ahead of", -60 => "behind" }.each do |skew, told|
      it "#{told ? "tells" : "is silent"} when the daemon's clock differs by #{skew} s" do
        fake.on(:ExamineEngine) do
          OvirtProvision::V1::ExamineEngineResponse.new(examine_time: Google::Protobuf::Timestamp.from_time(Time.now + skew))
        end
        expect(driver.doctor(state)).to be(false)
        expect(console[/clock is \d+ s (ahead of|behind) this machine's/, 1]).to eq(told)
      end
    end

    describe "on the guest agent of the template" do
      def experience(state, **fields)
        fake.on(:ListOperations) do
          machine = fake.machine(template_id: Support::FakeDaemon::TEMPLATE)
          other = fake.machine(template_id: "other")
          operations = [fake.operation(:STATE_FAILED, 1, machine: other, phase: "waiting-for-address"),
                        fake.operation(state, 1, machine: machine, **fields)]
          OvirtProvision::V1::ListOperationsResponse.new(operations: operations)
        end
        driver.doctor({})
        console[/agent: .*/]
      end

      it "says that earlier guests had one" do
        expect(experience(:STATE_SUCCEEDED)).to include("the guests of template debian-12 version 1 report their addresses")
      end

      it "warns when the last guest had none" do
        expect(experience(:STATE_FAILED, phase: "waiting-for-address")).to include("reported no address", "qemu-guest-agent")
      end

      it "does not blame the agent for another failure" do
        expect(experience(:STATE_FAILED, phase: "booting")).to include("not known yet")
      end

      it "looks at the version that is configured" do
        fake.on(:ListTemplates) do
          OvirtProvision::V1::ListTemplatesResponse.new(templates: [fake.template, fake.template(version: 2, id: "2")])
        end
        driver(template_version: 1)
        expect(experience(:STATE_SUCCEEDED)).to include("version 1")
      end
    end

    it "finds an option that is none" do
      expect(driver(memmory: 1).doctor(state)).to be(true)
      expect(console).to include("did you mean 'memory'?")
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

    it "tells until when the machine lives" do
      fake.on(:GetMachine) do
        lease = { kind: :KIND_KEPT, expire_time: Google::Protobuf::Timestamp.from_time(Time.utc(2030, 1, 2, 3, 4, 5)) }
        OvirtProvision::V1::GetMachineResponse.new(machine: fake.machine(lease: lease))
      end
      expect(driver.status({ machine_key: "k" })).to include(message: include("until 2030-01-02T03:04:05Z"))
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
