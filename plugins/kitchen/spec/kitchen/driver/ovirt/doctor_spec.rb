# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt, "#doctor" do
  include_context "with a driver"

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
