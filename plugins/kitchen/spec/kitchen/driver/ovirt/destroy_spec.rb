# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt, "#destroy" do
  include_context "with a driver"

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
