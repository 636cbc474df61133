# frozen_string_literal: true

require "logger"
require "open3"
require "stringio"

module Support
  # Makes drivers with the instance around them.
  module Instances
    Instance = Struct.new(:name, :platform, :suite, :transport, :logger, keyword_init: true) do
      def to_str
        "<#{name}>"
      end
    end
    Platform = Struct.new(:name, :os_type, :shell_type)
    Suite = Struct.new(:name)

    # A transport that remembers to what it connected, and does what it is told while it waits.
    class Transport
      attr_reader :connections, :name

      def initialize(config = {}, name: "Ssh", &waiting)
        @config = config
        @name = name
        @waiting = waiting
        @connections = []
      end

      def [](name)
        @config[name]
      end

      def connection(state)
        @connections << state.dup
        self
      end

      def wait_until_ready
        @waiting&.call
      end
    end

    # A folder for the example alone.
    attr_reader :folder

    # All that was logged so far.
    def console
      log.string
    end

    def log
      @log ||= StringIO.new
    end

    def make_driver(config = {}, name: "web-debian-12", transport: Transport.new, os_type: "unix")
      driver = Kitchen::Driver::Ovirt.new({ name: "ovirt", kitchen_root: folder }.merge(config))
      driver.finalize_config!(make_instance(name, transport, os_type))
    end

    def make_instance(name, transport = Transport.new, os_type = "unix")
      Instance.new(name: name, platform: Platform.new(name.split("-", 2).last, os_type), suite: Suite.new("web"),
                   transport: transport, logger: Logger.new(log))
    end

    # What the state file of the instance holds.
    def saved(name = "web-debian-12")
      Kitchen::StateFile.new(folder, name).read
    end

    # The `kitchen` command of the Test Kitchen that is loaded.
    def kitchen_command
      paths = $LOAD_PATH.grep_v(/stand_in/).map { |path| "-I#{path}" }
      [RbConfig.ruby, *paths, "-rtime", "-rkitchen", "-rkitchen/cli", "-e", "Kitchen::CLI.start(ARGV)", "--"]
    end

    # Runs `kitchen` in the folder; returns what it said and its status.
    def kitchen(*arguments)
      Open3.capture2e(*kitchen_command, *arguments, chdir: folder)
    end

    # Sets variables of the environment while the example runs.
    def with_environment(variables)
      before = ENV.to_h
      ENV.update(variables)
      yield
    ensure
      ENV.replace(before)
    end
  end
end
