# frozen_string_literal: true

require "English"

# The driver with the daemon that it starts, which works on a simulated engine without guests.
RSpec.describe "kitchen-ovirt with the daemon", :daemon do
  around { |example| with_environment(stage.environment) { example.run } }

  let(:stage) { Support::Stage.shared }
  let(:state) { {} }

  def driver(config = {})
    @driver ||= make_driver(config)
  end

  def machines
    stage.census.select do |entry|
      entry.kind == "vm" && entry.key == Kitchen::Driver::Ovirt::Identity.key("web-debian-12", folder)
    end
  end

  def lease
    stage.machine(state[:machine_key]).lease.kind
  end

  it "makes a machine that stays, and leaves nothing when it is destroyed, be it twice" do
    driver(cpus: 2, memory: "1 GiB", vm_name: "kitchen-web").create(state)
    expect(machines.map(&:name)).to eq(["kitchen-web"])
    expect(lease).to eq(:KIND_KEPT)
    expect(driver.status(state)).to include(live: true, state: "up", resource_id: state[:vm_id])
    again = state.dup
    driver.destroy(state)
    expect(machines).to be_empty
    expect { driver.destroy(again) }.not_to raise_error
  end

  it "equips a machine and sets its guest up as it is told" do
    driver(disks: [{ size: "2 GiB", name: "data", interface: "virtio" }], boot_disk_size: 10, tags: ["ci"],
           nics: [{ name: "nic1", network: "lab" }], placement: { hosts: ["host1"] }, time_zone: "Europe/Berlin",
           cloud_config: { packages: ["nginx"] }, files: [{ path: "/etc/motd", content: "hi" }],
           nic_configurations: [{ name: "eth0", static_range: "10.11.0.50-10.11.0.51/24" }]).create(state)
    made = stage.machine(state[:machine_key])
    expect(made.disks.map { |disk| [disk.size_bytes >> 30, disk.ours] }).to contain_exactly([10, true], [2, true])
    expect(made.nics.map(&:name)).to eq(["nic1"])
    driver.destroy(state)
    expect(machines).to be_empty
  end

  it "sets Windows up by sysprep" do
    transport = Support::Instances::Transport.new({ username: "administrator", password: "canary-7" }, name: "Winrm")
    windows = make_driver({}, name: "web-windows-2022", transport: transport, os_type: "windows")
    expect(windows.doctor({})).to be(false), console
    windows.create(state)
    expect(stage.machine(state[:machine_key]).status).to eq(:STATUS_UP)
    windows.destroy(state)
    expect([console, state.to_s].join).not_to include("canary-7")
  end

  it "packages an instance into versions of a template" do
    driver(package: { name: "golden-#{Process.pid}", description: "d", tags: ["ci"] }).create(state)
    2.times { driver.package(state) }
    expect(console).to include("template golden-#{Process.pid} version 1", "template golden-#{Process.pid} version 2")
    expect(driver.status(state)).to include(state: "up")
    driver.destroy(state)
    made = stage.census.select { |entry| entry.kind == "template" }
    made.reverse_each { |entry| stage.destroy_template(entry.id) }
  end

  it "goes on when the daemon is killed, refuses another engine, and makes anew what somebody else destroyed" do
    @driver = make_driver({}, transport: Support::Instances::Transport.new { stage.stop_daemon("KILL") })
    driver.create(state)
    expect(lease).to eq(:KIND_KEPT)

    with_environment("OVIRT_USERNAME" => "other@internal") do
      expect do
        driver.destroy(state)
      end.to raise_error(Kitchen::ActionFailed,
                         /the daemon serves .* as admin@internal.*OVIRT_PROVISION_ADDRESS/m)
    end

    first = state[:vm_id]
    stage.destroy(state[:machine_key])
    expect(driver.status(state)).to include(live: false, state: "gone")
    driver.create(state)
    expect(machines.map(&:id)).to eq([state[:vm_id]])
    expect(state[:vm_id]).not_to eq(first)
  end

  it "can destroy what a killed Kitchen had begun, which nobody has confirmed" do
    create = <<~RUBY
      require "spec_helper"
      include Support::Instances
      @folder = #{folder.inspect}
      make_driver({}, transport: Support::Instances::Transport.new { Process.kill("KILL", Process.pid) }).create({})
    RUBY
    system(RbConfig.ruby, "-I#{__dir__}", "-rrspec", "-e", create)
    expect($CHILD_STATUS.termsig).to eq(9)
    state.replace(saved)
    expect(lease).to eq(:KIND_SESSION)
    driver.destroy(state)
    expect(machines).to be_empty
  end

  it "tells all wrong references at once, with near misses, and makes nothing" do
    driver(template: "debain-12", cluster: "Defualt", nics: [{ name: "nic1", vnic_profile: "ovirtmgnt" }])
    expect { driver.create(state) }.to raise_error(Kitchen::UserError)
    expect(console).to match(/\* template: .*debian-12/).and match(/\* cluster: .*Default/)
    expect(machines).to be_empty
  end

  it "tells what the schema does not allow" do
    driver(hostname: "-x", boot_disk_size: "1 KiB")
    expect { driver.create(state) }.to raise_error(Kitchen::UserError, /\* boot_disk\.size: .*\* hostname: /m)
  end

  it "examines the engine for kitchen doctor" do
    expect(driver.doctor(state)).to be(false), console
    expect(make_driver({ template: "debain-12", cluster: "Defualt" }).doctor(state)).to be(true)
    expect(console).to include("did you mean 'debian-12'?", "did you mean 'Default'?")
    expect(machines).to be_empty
  end
end
