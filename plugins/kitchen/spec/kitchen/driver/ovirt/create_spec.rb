# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt, "#create" do
  include_context "with a driver"

  # Kitchen's file may be read while it is written.
  def saved_by_now
    saved
  rescue Kitchen::StandardError, Psych::Exception
    {}
  end

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
