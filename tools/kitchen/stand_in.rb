# frozen_string_literal: true

require "erb"
require "kitchen"
require "kitchen/driver/ovirt"
require "logger"
require "open3"
require "yaml"

# Does with the driver what `kitchen test` and `kitchen destroy` do, all instances at the same time: shell as
# provisioner and verifier, SSH as transport.
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

    def name
      "Ssh"
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
                  "UserKnownHostsFile" => "/dev/null", "ConnectTimeout" => "60", "LogLevel" => "ERROR" }
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
    act { |name, driver| play(name, driver) }
  end

  # The exit code.
  def destroy
    act do |name, driver|
      state = Kitchen::StateFile.new(@folder, name)
      driver.destroy(state.read)
      state.destroy
    end
  end

  private

  # Yields name and driver of every instance, all at the same time.
  def act
    say("Test Kitchen is NOT installed: a stand-in for its classes plays `kitchen` with the driver.")
    done = @project["suites"].product(@project["platforms"]).map do |suite, platform|
      Thread.new do
        name = "#{suite["name"]}-#{platform["name"]}"
        yield name, make_driver(name, suite, platform)
        true
      rescue Kitchen::StandardError => e
        say("<#{name}> #{e.message}")
        false
      end
    end
    done.map(&:value).all? ? 0 : 20
  end

  def say(text)
    @lines.synchronize { puts(text) }
  end

  def play(name, driver)
    state = Kitchen::StateFile.new(@folder, name).read
    driver.destroy(state)
    driver.create(state)
    converge(name, driver.instance.transport)
    verify(name, state)
    driver.destroy(state)
    Kitchen::StateFile.new(@folder, name).destroy
  end

  def make_driver(name, suite, platform)
    logger = Logger.new($stdout, formatter: ->(_, _, _, text) { "       #{text}\n" }, level: Logger::INFO)
    config = @project["driver"].merge(suite.fetch("driver", {})).transform_keys(&:to_sym)
    Kitchen::Driver::Ovirt.new(config.merge(kitchen_root: @folder)).finalize_config!(
      Instance.new(name: name, suite: Named.new(suite["name"]), platform: Named.new(platform["name"]),
                   transport: Transport.new(@project["transport"]), logger: logger)
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
