# frozen_string_literal: true

RSpec.describe OvirtProvision::Daemon do
  let(:environment) do
    { "PATH" => "#{folder}/bin:#{ENV.fetch("PATH")}", "HOME" => folder,
      "XDG_RUNTIME_DIR" => "#{folder}/run", "XDG_STATE_HOME" => "#{folder}/state",
      "OVIRT_URL" => "https://e", "OVIRT_PASSWORD" => "canary", "OTHER" => "x" }
  end
  let(:address) { OvirtProvision::Address.resolve(environment) }
  let(:serves) { -> { File.exist?("#{folder}/served") } }

  # Puts a program in the daemon's place.
  def program(text)
    FileUtils.mkdir_p("#{folder}/bin")
    File.write("#{folder}/bin/ovirt-provision", "#!/bin/sh\n#{text}\n", perm: 0o755)
  end

  def start(timeout: 10)
    described_class.new(address, environment: environment, serving: serves, timeout: timeout).start
  end

  it "gets the engine's variables by its standard input alone, and little else of ours" do
    program(%(cat >"#{folder}/stdin"; env >"#{folder}/env"; echo "$*" >"#{folder}/arguments"; pwd >"#{folder}/pwd"
              ps -o sid= -p $$ >"#{folder}/session"; touch "#{folder}/served"))
    start
    told = ->(name) { File.read("#{folder}/#{name}") }
    expect(told["stdin"]).to eq("OVIRT_URL=https://e\nOVIRT_PASSWORD=canary\n")
    expect(told["env"].lines.map do |line|
             line.split("=").first
           end - %w[PWD OLDPWD SHLVL _]).to match_array(%w[PATH HOME XDG_RUNTIME_DIR XDG_STATE_HOME])
    expect(told["arguments"]).to eq("serve --auto-started\n")
    expect(told["pwd"]).to eq("/\n")
    expect(told["session"].to_i).not_to eq(Process.getsid)
  end

  it "says why the daemon did not come up, and never the password" do
    program("cat >/dev/null; echo 'no such engine' >&2; exit 3")
    expect { start }.to raise_error(OvirtProvision::Unreachable) { |e|
                          expect(e.message).to match(/ended before it served.*exit 3.*daemon\.log.*no such engine/m)
                          expect(e.message).not_to include("canary")
                        }
  end

  it "waits for the daemon of another when ours was slower" do
    program(%((sleep 0.3; touch "#{folder}/served") & exit 0))
    expect { start }.not_to raise_error
  end

  it "does not wait for ever" do
    program("exec sleep 5")
    expect { start(timeout: 0.2) }.to raise_error(OvirtProvision::Unreachable, /did not serve within 0\.2 s/)
  end

  it "is started once by many at the same time" do
    serve = "UNIXServer.new('#{address.socket}'); File.write('#{folder}/served', ''); sleep 2"
    program(%(echo x >>"#{folder}/starts"; ruby -rsocket -e "#{serve}" &))
    Array.new(4) { Thread.new { start } }.each(&:join)
    expect(File.readlines("#{folder}/starts").size).to eq(1)
  end

  it "says how to have one where the program is missing" do
    environment["PATH"] = "/nowhere"
    expect { start }.to raise_error(OvirtProvision::Unreachable, /not on PATH.*OVIRT_PROVISION_ADDRESS/)
  end

  it "does not trust a folder that is open to others" do
    FileUtils.mkdir_p("#{folder}/run/ovirt-provision", mode: 0o755)
    expect { start }.to raise_error(OvirtProvision::Unreachable, /mode 0755.*chmod 700/)
  end
end
