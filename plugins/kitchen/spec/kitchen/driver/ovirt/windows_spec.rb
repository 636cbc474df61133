# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt, "on Windows" do
  include_context "with a driver"

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
