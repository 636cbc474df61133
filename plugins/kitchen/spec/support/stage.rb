# frozen_string_literal: true

require "fileutils"
require "json"
require "net/http"
require "securerandom"
require "tmpdir"
require "uri"
require "yaml"

module Support
  # A simulated engine, and an environment in which the driver finds it and starts a daemon of its own.
  class Stage
    V1 = OvirtProvision::V1
    BIN = File.expand_path("../../../../.venv/bin", __dir__)
    # Seconds.
    START = 60

    class << self
      def possible?
        File.executable?(File.join(BIN, "ovirt-provision"))
      end

      # The stage without guests that all examples share.
      def shared
        @shared ||= new(world: { "templates" => [{ "name" => "windows-2022", "os" => "windows_2022" }],
                                 "tags" => [{ "name" => "ci" }] }).tap do |made|
          made.configure("timeouts" => { "address_settle" => 0.1, "watch_interval" => 0.2 })
        end
      end

      def clear
        @shared&.clear
      end
    end

    attr_reader :environment

    # `world` is a world file of the simulator, as a structure.
    def initialize(guests: "none", profile: "fast", world: {})
      @folder = Dir.mktmpdir("ovirt-")
      @environment = { "HOME" => @folder, "PATH" => "#{BIN}:#{ENV.fetch("PATH")}",
                       "XDG_CACHE_HOME" => ENV.fetch("XDG_CACHE_HOME") { File.join(Dir.home, ".cache") } }
      @homes = []
      @environment.update(home("daemon"))
      @simulator = simulate("--guests", guests, "--profile", profile, "--data", file("world.yaml", YAML.dump(world)))
    end

    # The environment for another daemon, which has a ledger of its own.
    def elsewhere(name)
      @environment.merge(home(name))
    end

    # Writes the configuration of the stage's daemon, which has to be written before it starts.
    def configure(configuration)
      folder = File.join(@environment["XDG_CONFIG_HOME"], "ovirt-provision")
      FileUtils.mkdir_p(folder)
      File.write(File.join(folder, "config.yaml"), YAML.dump(configuration), perm: 0o600)
    end

    # The objects of ours that the engine holds.
    def census
      ask do |client|
        client.call(:engines, :take_census, V1::TakeCensusRequest.new(engine: client.engine)).entries.to_a
      end
    end

    # The Machine of a key.
    def machine(key)
      ask do |client|
        client.call(:machines, :get_machine,
                    V1::GetMachineRequest.new(engine: client.engine, key: key)).machine
      end
    end

    # Destroys the Machine of a key, as somebody else would.
    def destroy(key)
      ask do |client|
        client.run(:machines, :destroy_machine,
                   V1::DestroyMachineRequest.new(engine: client.engine, request_id: SecureRandom.uuid, key: key))
      end
    end

    def destroy_template(id)
      ask do |client|
        request = V1::DestroyTemplateRequest.new(engine: client.engine, request_id: SecureRandom.uuid, id: id)
        client.run(:templates, :destroy_template, request)
      end
    end

    # Waits until no operation runs.
    def settle
      running = V1::ListOperationsRequest.new(running_only: true)
      ask { |client| sleep 0.05 while client.call(:operations, :list_operations, running).operations.any? }
    end

    # Process id of the daemon.
    def daemon
      Integer(File.read(lock_of(@homes.first)).split.first)
    end

    # Yields a client of the stage's daemon.
    def ask
      client = OvirtProvision::Client.new(user_agent: "spec", environment: @environment)
      yield client
    ensure
      client&.close
    end

    # How often the engine was asked for what so far.
    def requests
      JSON.parse(tell_simulator(Net::HTTP::Get, "requests").body).fetch("operations")
    end

    # What something cost: seconds, requests to the engine, and how many of these change it.
    Cost = Struct.new(:seconds, :requests, :changes) do
      def to_s
        format("%.1f s, %d requests to the engine, %d of them change it", *to_a)
      end
    end

    # What the block costs, while nobody else asks the engine.
    def measure
      before = requests
      began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      yield
      seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
      asked = requests.to_h { |name, count| [name, count - before.fetch(name, 0)] }
      changing = asked.reject { |name, _| name.start_with?("GET ", "POST /ovirt-engine/") }
      Cost.new(seconds, asked.values.sum, changing.values.sum)
    end

    # Lets the next requests that fit fail by a fault of the simulator.
    def arm(fault, **options)
      tell_simulator(Net::HTTP::Post, "faults", JSON.generate(fault: fault, **options))
    end

    # Ends a daemon and waits for its end; by default that of the stage.
    def stop_daemon(signal = "TERM", home = @homes.first)
      number = Integer(File.read(lock_of(home)).split.first)
      Process.kill(signal, number)
      sleep 0.05 while File.exist?("/proc/#{number}") && !File.read("/proc/#{number}/stat").include?(") Z")
    rescue Errno::ENOENT, Errno::ESRCH
      nil
    end

    def clear
      @homes.each { |home| stop_daemon("TERM", home) }
      Process.kill("TERM", @simulator)
      Process.wait(@simulator)
      FileUtils.rm_rf(@folder)
    end

    private

    # Where a daemon is at home.
    def home(name)
      base = File.join(@folder, name)
      FileUtils.mkdir_p(File.join(base, "run"), mode: 0o700)
      @homes << base
      { "XDG_RUNTIME_DIR" => "run", "XDG_STATE_HOME" => "state", "XDG_CONFIG_HOME" => "config" }
        .transform_values { |folder| File.join(base, folder) }
    end

    def lock_of(home)
      File.join(home, "state/ovirt-provision/daemon.lock")
    end

    def file(name, text)
      File.join(@folder, name).tap { |path| File.write(path, text) }
    end

    def simulate(*options)
      ready = File.join(@folder, "engine.env")
      log = File.join(@folder, "simulator.log")
      started = spawn(@environment, "ovirt-provision", "simulate", "--port", "0", "--state-dir",
                      File.join(@folder, "simulator"), "--ready-file", ready, *options, %i[out err] => log)
      deadline = Time.now + START
      until File.exist?(ready)
        raise "the simulator does not start:\n#{File.read(log)}" if Time.now > deadline

        sleep 0.1
      end
      File.readlines(ready, chomp: true).each do |line|
        name, value = line.delete_prefix("export ").split("=", 2)
        @environment[name] = value.delete("'\"")
      end
      started
    end

    def tell_simulator(kind, path, body = nil)
      url = URI.join(@environment["OVIRT_URL"], "/simulator/#{path}")
      request = kind.new(url)
      request.basic_auth(@environment["OVIRT_USERNAME"], @environment["OVIRT_PASSWORD"])
      Net::HTTP.start(url.host, url.port, use_ssl: true, ca_file: @environment["OVIRT_CAFILE"]) do |http|
        http.request(request, body).tap(&:value)
      end
    end
  end
end
