# frozen_string_literal: true

require "fileutils"
require "securerandom"
require "tmpdir"

module Support
  # A simulated engine without guests, and an environment in which the driver finds it and starts a daemon of its own.
  class Stage
    V1 = OvirtProvision::V1
    BIN = File.expand_path("../../../../.venv/bin", __dir__)
    # Seconds.
    START = 60

    class << self
      def possible?
        File.executable?(File.join(BIN, "ovirt-provision"))
      end

      # The stage that all examples share.
      def shared
        @shared ||= new
      end

      def clear
        @shared&.clear
      end
    end

    attr_reader :environment

    def initialize
      @folder = Dir.mktmpdir("ovirt-")
      ready = File.join(@folder, "engine.env")
      @environment = { "HOME" => @folder, "PATH" => "#{BIN}:#{ENV.fetch("PATH")}",
                       "XDG_RUNTIME_DIR" => File.join(@folder, "run"), "XDG_STATE_HOME" => File.join(@folder, "state"),
                       "XDG_CONFIG_HOME" => File.join(@folder, "config") }
      FileUtils.mkdir_p(@environment["XDG_RUNTIME_DIR"], mode: 0o700)
      @simulator = spawn(@environment, "ovirt-provision", "simulate", "--port", "0", "--guests", "none", "--state-dir",
                         File.join(@folder, "simulator"), "--ready-file", ready,
                         %i[out err] => File.join(@folder, "simulator.log"))
      deadline = Time.now + START
      until File.exist?(ready)
        raise "the simulator does not start:\n#{File.read(File.join(@folder,
                                                                    "simulator.log"))}" if Time.now > deadline

        sleep 0.1
      end
      File.readlines(ready, chomp: true).each do |line|
        name, value = line.delete_prefix("export ").split("=", 2)
        @environment[name] = value.delete("'\"")
      end
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

    # Process id of the daemon.
    def daemon
      Integer(File.read(File.join(@environment["XDG_STATE_HOME"], "ovirt-provision/daemon.lock")).split.first)
    end

    # Yields a client of the stage's daemon.
    def ask
      client = OvirtProvision::Client.new(user_agent: "spec", environment: @environment)
      yield client
    ensure
      client&.close
    end

    # Ends the daemon and waits for its end.
    def stop_daemon(signal = "TERM")
      number = daemon
      Process.kill(signal, number)
      sleep 0.05 while File.exist?("/proc/#{number}") && !File.read("/proc/#{number}/stat").include?(") Z")
    rescue Errno::ENOENT, Errno::ESRCH
      nil
    end

    def clear
      stop_daemon
      Process.kill("TERM", @simulator)
      Process.wait(@simulator)
      FileUtils.rm_rf(@folder)
    end
  end
end
