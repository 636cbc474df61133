# frozen_string_literal: true

RSpec.describe OvirtProvision::Address do
  {
    "a named socket" => [
      { "OVIRT_PROVISION_ADDRESS" => "unix:/run/d.sock",
        "XDG_RUNTIME_DIR" => "/run/user/1" }, "unix:/run/d.sock", "/run/d.sock", true
    ],
    "a named socket with an authority" => [{ "OVIRT_PROVISION_ADDRESS" => "unix:///run/d.sock" },
                                           "unix:/run/d.sock", "/run/d.sock", true],
    "a host" => [{ "OVIRT_PROVISION_ADDRESS" => "daemon.example.com:7443" }, "daemon.example.com:7443", nil, true],
    "loopback of IPv6" => [{ "OVIRT_PROVISION_ADDRESS" => "[::1]:4711" }, "[::1]:4711", nil, true],
    "the runtime folder" => [{ "XDG_RUNTIME_DIR" => "/run/user/1", "HOME" => "/home/a" },
                             "unix:/run/user/1/ovirt-provision/daemon.sock",
                             "/run/user/1/ovirt-provision/daemon.sock", false],
    "no relative runtime folder" => [{ "XDG_RUNTIME_DIR" => "run", "XDG_STATE_HOME" => "/state" },
                                     "unix:/state/ovirt-provision/run/daemon.sock",
                                     "/state/ovirt-provision/run/daemon.sock", false],
    "the state folder" => [{ "HOME" => "/home/a" }, "unix:/home/a/.local/state/ovirt-provision/run/daemon.sock",
                           "/home/a/.local/state/ovirt-provision/run/daemon.sock", false]
  }.each do |name, (environment, target, socket, explicit)|
    it "is #{name}" do
      expect(described_class.resolve(environment).to_h).to eq(target: target, socket: socket,
                                                              explicit: explicit)
    end
  end

  it "names a host that nobody knows" do
    address = described_class.resolve("OVIRT_PROVISION_ADDRESS" => "no-such-host.invalid:7443")
    expect { address.listening? }
      .to raise_error(OvirtProvision::Unreachable, /'no-such-host\.invalid:7443', and that host is not known/)
  end

  {
    "a relative socket" => [{ "OVIRT_PROVISION_ADDRESS" => "unix:d.sock" }, /unix:d\.sock.*absolute/],
    "a bare name" => [{ "OVIRT_PROVISION_ADDRESS" => "localhost" }, /'localhost'.*host:port/],
    "a path that is too long" => [{ "XDG_RUNTIME_DIR" => "/#{"x" * 79}" },
                                  /108 bytes.*at most 107.*XDG_RUNTIME_DIR/],
    "no home" => [{}, /HOME.*OVIRT_PROVISION_ADDRESS/]
  }.each do |name, (environment, message)|
    it "refuses #{name}" do
      expect { described_class.resolve(environment) }.to raise_error(OvirtProvision::Error, message)
    end
  end
end
