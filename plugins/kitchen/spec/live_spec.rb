# frozen_string_literal: true

# The real `kitchen`, with shell provisioner and shell verifier, on real guests.
RSpec.describe "kitchen on real guests", :live, :real_kitchen, :daemon, order: :defined do
  project = File.expand_path("../../../tools/kitchen/project", __dir__)
  suites = %w[web db cache queue]
  figures = []

  before(:context) do
    next unless ENV["KITCHEN_LIVE"] && !STAND_IN

    @stage = Support::Stage.new(guests: "qemu", world: { "users" => [{ "name" => "nobody", "password" => "secret" }] })
  end
  after(:context) do
    @stage&.clear
    puts(figures)
  end

  around do |example|
    next example.run unless @stage

    %w[bootstrap.sh verify.sh].each { |name| FileUtils.cp(File.join(project, name), folder) }
    configure
    with_environment(stage.environment.merge("GUEST_SSH_PORT" => port)) { example.run }
  end

  attr_reader :stage

  # In a namespace of their own guests answer at the port of SSH.
  def port
    ENV["IN_NAMESPACE"] ? "22" : "2222"
  end

  # Writes kitchen.yml; `given` are driver configurations by suite.
  define_method(:configure) do |given = suites.to_h { |name| [name, {}] }, **driver|
    content = {
      driver: { name: "ovirt", cpus: 1, memory: "512 MiB", **driver }, transport: { name: "ssh", port: port },
      provisioner: { name: "shell", script: "bootstrap.sh" }, verifier: { name: "shell", command: "sh verify.sh" },
      platforms: [{ name: "debian-12" }], suites: given.map { |name, options| { name: name, driver: options } }
    }
    # By JSON, because YAML would write symbols as such.
    File.write(File.join(folder, "kitchen.yml"), YAML.dump(JSON.parse(JSON.generate(content))))
  end

  # Runs `kitchen`, which has to succeed, and returns what it said.
  def kitchen!(*arguments)
    said, status = kitchen(*arguments)
    expect(status).to be_success, said
    said
  end

  # Runs `kitchen`, which must not succeed, and returns what it said.
  def failing_kitchen(*arguments)
    said, status = kitchen(*arguments)
    expect(status).not_to be_success, said
    said
  end

  def ours
    stage.census.map { |entry| [entry.finding, entry.kind, entry.name] }
  end

  def left_in_the_project
    Dir.glob(File.join(folder, ".kitchen/*.{yml,pem}")).map { |path| File.basename(path) }
  end

  # Remembers what the block cost, to be printed, and returns its value.
  define_method(:measure) do |what, &block|
    value = nil
    figures << "#{what}: #{stage.measure { value = block.call }}"
    value
  end

  it "tests four instances at the same time, and leaves nothing" do
    said = measure("kitchen test -c 4") { kitchen!("test", "-c", "4") }
    suites.each do |suite|
      expect(said).to include("provisioned as root on #{suite}-debian-12", "says #{suite}-debian-12\n",
                              "Finished testing <#{suite}-debian-12>")
      expect(said).to match(/<#{suite}-debian-12> waiting-for-address\.\.\. \(\d+ s\)/)
      expect(said).to match(/<#{suite}-debian-12> creating [\d.]+ s, cloning [\d.]+ s, .*booting [\d.]+ s/)
    end
    expect([ours, left_in_the_project]).to eq([[], []])
  end

  it "tests the same instance again, and makes no second one when it is created twice" do
    measure("kitchen test of one instance") { kitchen!("test", "^web") }
    measure("kitchen create") { kitchen!("create", "^web") }
    measure("kitchen create of what exists") { kitchen!("create", "^web") }
    expect(ours.map { |finding, kind, _| [finding, kind] }.tally.fetch([:FINDING_OURS, "vm"])).to eq(1)
    measure("kitchen destroy") { kitchen!("destroy", "^web") }
    measure("kitchen destroy of what is gone") { kitchen!("destroy", "^web") }
    expect([ours, left_in_the_project]).to eq([[], []])
  end

  describe "a create that fails" do
    {
      "agent-silent" => [/the guest agent|agent/, {}],
      "start-fails" => [/the engine says: /, {}],
      "vm-crashes" => [/the engine says: |crash|down/i, {}]
    }.each do |fault, (reason, options)|
      it "because of #{fault} tells the reason on the console and leaves nothing" do
        configure({ "web" => options }, timeouts: { address: "20s", start: "60s" })
        stage.arm(fault)
        said = failing_kitchen("create", "^web")
        expect(said[/^>>>>>> .*(\n {2}.*)*/]).to match(reason)
        stage.settle
        expect(ours).to eq([])
        kitchen!("destroy")
      end
    end

    it "tells all that does not exist at once, before anything is made" do
      configure({ "web" => {} }, template: "debain-12", cluster: "Defualt", nics: [{ name: "nic1", vnic_profile: "ovirtmgnt" }])
      before = stage.requests.fetch("POST /vms", 0)
      said = failing_kitchen("create", "^web")
      expect(said).to include("* template: no template 'debain-12'; did you mean 'debian-12'?", "* cluster: no cluster 'Defualt'",
                              "* nics[0].vnic_profile: no vNIC profile 'ovirtmgnt'")
      expect(stage.requests.fetch("POST /vms", 0)).to eq(before)
    end

    it "can keep the VM for a look" do
      configure({ "web" => {} }, on_failure: "keep", timeouts: { address: "20s" })
      stage.arm("agent-silent")
      expect(failing_kitchen("create", "^web")).to include("The Machine was kept")
      expect(kitchen!("list", "--live")).to match(/^web-debian-12 .* up$/)
      kitchen!("destroy", "^web")
      expect(ours).to eq([])
    end

    it "because nobody can log in is undone, too" do
      configure({ "web" => {} })
      yml = YAML.load_file(File.join(folder, "kitchen.yml"))
      yml["transport"].update("port" => 9, "max_wait_until_ready" => 3, "connection_timeout" => 1)
      File.write(File.join(folder, "kitchen.yml"), YAML.dump(yml))
      expect(failing_kitchen("create", "^web")).to include("is destroyed, because on_failure is destroy")
      expect(ours).to eq([])
    end
  end

  describe "interrupted" do
    { "cloning" => "create", "booting" => "create", "waiting-for-address" => "create", "waiting for Ssh" => "create",
      "Converging" => "converge" }.each do |moment, command|
      %w[INT TERM KILL].each do |signal|
        it "by #{signal} at '#{moment}' leaves what `kitchen destroy` removes, and can be created again" do
          Open3.popen2e(*kitchen_command, command, "^web", chdir: folder) do |_, output, waiting|
            output.each_line.find { |line| line.include?(moment) }
            Process.kill(signal, waiting.pid)
            output.read
            expect(waiting.value).not_to be_success
          end
          kitchen!(signal == "TERM" ? "create" : "destroy", "^web")
          kitchen!("destroy")
          stage.settle
          expect([ours, left_in_the_project]).to eq([[], []])
        end
      end
    end
  end

  it "packages an instance, and makes others of the template version" do
    name = "golden-#{Process.pid}"
    configure({ "web" => { package: { name: name, description: "with nginx" } }, "next" => { template: name } })
    kitchen!("converge", "^web")
    expect(measure("kitchen package") { kitchen!("package", "web-debian-12") }).to include("template #{name} version 1")
    expect(kitchen!("package", "web-debian-12")).to include("template #{name} version 2")
    # The instance runs again, as it was.
    expect(kitchen!("exec", "^web", "-c", "hostname; cat /etc/provisioned")).to match(/web-debian-12\s+web-debian-12/)
    kitchen!("create", "^next")
    # A new machine with what the other one was provisioned with.
    expect(kitchen!("exec", "^next", "-c", "hostname; cat /etc/provisioned")).to match(/next-debian-12\s+web-debian-12/)
    kitchen!("destroy")
    templates = stage.census.select { |entry| entry.kind == "template" }
    expect(templates.map(&:name)).to eq([name, name])
    templates.reverse_each { |entry| stage.destroy_template(entry.id) }
    expect(ours).to eq([])
  end

  it "lists how the instances are" do
    expect(kitchen!("list")).to include("<Not Created>")
    kitchen!("create", "-c", "3", "^(web|db|cache)")
    stage.destroy(Kitchen::Driver::Ovirt::Identity.key("db-debian-12", folder))
    stage.ask do |client|
      key = Kitchen::Driver::Ovirt::Identity.key("cache-debian-12", folder)
      stop = OvirtProvision::V1::StopMachineRequest.new(engine: client.engine, request_id: SecureRandom.uuid, key: key)
      client.run(:machines, :stop_machine, stop)
    end
    states = ->(said) { said.lines.drop(1).to_h { |line| [line[/\A\w+/], line.split(/\s{2,}/).last.strip] } }
    expect(states[kitchen!("list", "--live")]).to eq("web" => "up", "db" => "gone", "cache" => "down", "queue" => "not created")
    with_environment("OVIRT_PROVISION_ADDRESS" => "unix:/nowhere/daemon.sock") do
      expect(states[kitchen!("list", "--live")]).to include("web" => "unknown", "queue" => "not created")
    end
    kitchen!("destroy", "-c", "3")
    expect(ours).to eq([])
  end

  # A file with the certificate of an authority that has signed nothing here.
  def another_authority
    key = OpenSSL::PKey::EC.generate("prime256v1")
    certificate = OpenSSL::X509::Certificate.new
    certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse("/CN=other")
    certificate.public_key = key
    certificate.not_before = Time.now - 60
    certificate.not_after = Time.now + 3600
    certificate.sign(key, "SHA256")
    File.join(folder, "other.pem").tap { |path| File.write(path, certificate.to_pem) }
  end

  describe "doctor" do
    it "finds nothing where all is well, and knows by earlier guests that the template has an agent" do
      said = kitchen!("doctor")
      expect(said).to include("daemon: answers at", "certificate: ", "login: logged in as admin@internal", "clock: ",
                              "create-vms: ", "the engine has template debian-12",
                              "agent: the guests of template debian-12 version 1")
    end

    {
      "no daemon" => [{ "OVIRT_PROVISION_ADDRESS" => "unix:/nowhere/daemon.sock" }, {}, /no daemon listens at/],
      "the certificate of another engine" => [{ "OVIRT_CAFILE" => :another }, {},
                                              /certificate: .*cannot be verified|certificate: /],
      "a wrong password" => [{ "OVIRT_PASSWORD" => "wrong" }, {}, /login: .*OVIRT_PASSWORD|login: /],
      "an engine that does not answer" => [{ "OVIRT_URL" => "https://127.0.0.1:9/ovirt-engine/api" }, {}, /connection: /],
      "an account without rights" => [{ "OVIRT_USERNAME" => "nobody@internal", "OVIRT_PASSWORD" => "secret" }, {},
                                      /read-templates: |create-vms: |login: /],
      "a misspelt template" => [{}, { template: "debain-12" }, /template: no template 'debain-12'; did you mean 'debian-12'/],
      "a misspelt cluster" => [{}, { cluster: "Defualt" }, /cluster: no cluster 'Defualt'; did you mean 'Default'/],
      "a misspelt network" => [{}, { nics: [{ name: "nic1", vnic_profile: "ovirtmgnt" }] }, /did you mean 'ovirtmgmt'/],
      "a misspelt option" => [{}, { memmory: 1 }, /did you mean 'memory'/]
    }.each do |breakage, (environment, options, finding)|
      it "finds #{breakage}" do
        configure({ "web" => options })
        elsewhere = environment.empty? ? {} : stage.elsewhere(breakage.tr(" ", "-")).merge(environment)
        elsewhere["OVIRT_CAFILE"] = another_authority if elsewhere["OVIRT_CAFILE"] == :another
        with_environment(elsewhere) do
          said = failing_kitchen("doctor")
          expect(said.scan(/^>>>>>> (.*(?:\n +.*)*)/).flatten.join("\n")).to match(finding), said
        end
      end
    end
  end
end

RSpec.describe "kitchen with ten instances", :live, :real_kitchen, :daemon do
  after { @stage&.clear }

  it "waits its turn where the engine takes but two at a time, and says at which position" do
    @stage = Support::Stage.new
    engine = %w[url username password ca_file].zip(%w[OVIRT_URL OVIRT_USERNAME OVIRT_PASSWORD OVIRT_CAFILE])
    engine = engine.to_h.transform_values { |variable| @stage.environment.fetch(variable) }
    @stage.configure("engines" => { "lab" => { **engine, "operations" => 2 } })
    File.write(File.join(folder, "kitchen.yml"), <<~YAML)
      driver: {name: ovirt, engine: lab}
      transport: {name: dummy}
      provisioner: {name: dummy}
      verifier: {name: dummy}
      platforms: [{name: debian-12}]
      suites: [#{Array.new(10) { |number| "{name: s#{number}}" }.join(", ")}]
    YAML
    with_environment(@stage.environment.merge("OVIRT_URL" => "")) do
      said, status = kitchen("create", "-c", "10")
      expect(status).to be_success, said
      expect(said.scan(/queued, position \d+ of \d+/).size).to be >= 8
      expect(kitchen("destroy", "-c", "10").last).to be_success
    end
  end
end

# The engine's part is 23 s of each create, as it was when the driver that there was before took 40 s and 15 requests for one,
# and 22 requests for each `kitchen test`.
RSpec.describe "what kitchen costs where a clone takes 12 s and a boot 11 s", :live, :real_kitchen, :daemon, order: :defined do
  after { @stage&.clear }

  it "is little more than the engine's part, and for four instances fewer requests" do
    timing = File.join(folder, "timing.yaml")
    File.write(timing, YAML.dump("base" => "fast", "clone_thin" => 12, "boot" => 11, "launch" => 0, "guest_agent" => 0))
    @stage = Support::Stage.new(profile: timing)
    File.write(File.join(folder, "kitchen.yml"), <<~YAML)
      driver: {name: ovirt}
      transport: {name: dummy, sleep: 0}
      provisioner: {name: dummy, sleep: 0}
      verifier: {name: dummy, sleep: 0}
      platforms: [{name: debian-12}]
      suites: [{name: a}, {name: b}, {name: c}, {name: d}]
    YAML
    with_environment(@stage.environment) do
      # Starts the daemon.
      kitchen("doctor")
      costs = [%w[create ^a-], %w[destroy ^a-], %w[test ^a-], %w[test -c 4]].to_h do |arguments|
        status = nil
        cost = @stage.measure { status = kitchen(*arguments).last }
        expect(status).to be_success
        puts "    kitchen #{arguments.join(" ")}: #{cost}"
        [arguments.join(" "), cost]
      end
      expect(costs.transform_values(&:changes)).to eq("create ^a-" => 2, "destroy ^a-" => 2, "test ^a-" => 4, "test -c 4" => 16)
      expect(costs["test -c 4"].requests).to be < 4 * 22
    end
  end
end
