# frozen_string_literal: true

require "erb"
require "kitchen"
require "kitchen/driver/ovirt"
require "logger"
require "open3"
require "yaml"

# Does with the driver what `kitchen test` does, all instances at the same time: shell as provisioner and verifier, SSH
# as transport.
class StandIn
  # Seconds.
  READY = 300
  PAUSE = 1

  Named = Struct.new(:name)
  Instance = Struct.new(:name, :platform, :suite, :transport, :logger, keyword_init: true) do
    def to_str
      "<#{name}>"
    end
  end

  # SSH by the command of that name.
  class Transport
    def initialize(config)
      @config = config
    end

    def [](name)
      @config[name.to_s]
    end

    def connection(state)
      @state = state
      self
    end

    def wait_until_ready
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + READY
      until run("true").last.success?
        late = Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
        raise Kitchen::TransientFailure, "no SSH at #{@state[:hostname]} for #{READY} s" if late

        sleep PAUSE
      end
    end

    # Runs a command in the guest; returns what it said and its status.
    def run(command, input = "")
      options = { "BatchMode" => "yes", "IdentitiesOnly" => "yes", "StrictHostKeyChecking" => "no",
                  "UserKnownHostsFile" => "/dev/null", "ConnectTimeout" => "10", "LogLevel" => "ERROR" }
      Open3.capture2e("ssh", "-F", "none", "-i", @state[:ssh_key], "-p", (self[:port] || 22).to_s,
                      *options.map { |name, value| "-o#{name}=#{value}" },
                      "#{@state[:username]}@#{@state[:hostname]}", command, stdin_data: input)
    end
  end

  def initialize(folder)
    @folder = folder
    @project = YAML.safe_load(ERB.new(File.read(File.join(folder, "kitchen.yml"))).result)
    @lines = Mutex.new
  end

  # The exit code.
  def test
    say("Test Kitchen is NOT installed: a stand-in for its classes plays `kitchen test` with the driver.")
    names = @project["suites"].product(@project["platforms"])
    passed = names.map { |suite, platform| Thread.new { passes?(suite["name"], platform["name"]) } }.map(&:value)
    passed.all? ? 0 : 20
  end

  private

  def say(text)
    @lines.synchronize { puts(text) }
  end

  def passes?(suite, platform)
    name = "#{suite}-#{platform}"
    transport = Transport.new(@project["transport"])
    driver = make_driver(name, Named.new(suite), Named.new(platform), transport)
    state = Kitchen::StateFile.new(@folder, name).read
    driver.destroy(state)
    driver.create(state)
    converge(name, transport)
    verify(name, state)
    driver.destroy(state)
    Kitchen::StateFile.new(@folder, name).destroy
    true
  rescue Kitchen::StandardError => e
    say("<#{name}> #{e.message}")
    driver&.destroy(state) if state
    false
  end

  def make_driver(name, suite, platform, transport)
    logger = Logger.new($stdout, formatter: ->(_, _, _, text) { "       <#{name}> #{text}\n" }, level: Logger::INFO)
    config = @project["driver"].transform_keys(&:to_sym).merge(kitchen_root: @folder)
    Kitchen::Driver::Ovirt.new(config).finalize_config!(
      Instance.new(name: name, suite: suite, platform: platform, transport: transport, logger: logger)
    )
  end

  def converge(name, transport)
    script = File.read(File.join(@folder, @project.dig("provisioner", "script")))
    said, status = transport.run("sudo -n sh -s", script)
    say("       <#{name}> #{said}")
    raise Kitchen::ActionFailed, "Converge failed: #{status}" unless status.success?
  end

  def verify(name, state)
    variables = state.merge(instance: name).to_h { |key, value| ["KITCHEN_#{key.to_s.upcase}", value.to_s] }
    said, status = Open3.capture2e(variables, @project.dig("verifier", "command"), chdir: @folder)
    say("       <#{name}> #{said}")
    raise Kitchen::ActionFailed, "Verify failed: #{status}" unless status.success?
  end
end
