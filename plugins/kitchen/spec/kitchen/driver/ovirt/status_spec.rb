# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt, "#status" do
  include_context "with a driver"

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
