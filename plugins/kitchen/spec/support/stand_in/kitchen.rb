# frozen_string_literal: true

require "fileutils"
require "logger"
require "yaml"

# Stands in for Test Kitchen where it is not installed: as much of its classes as a driver touches, with the
# behaviour that docs/adr/0003 of Test Kitchen 4.1 describes. The contract examples run against both.
module Kitchen
  STAND_IN = true

  # Base of all of Kitchen's errors.
  class StandardError < ::StandardError
    attr_reader :original

    def initialize(message, original = $!) # rubocop:disable Style/SpecialGlobalVars
      super(message)
      @original = original
    end
  end
  UserError = Class.new(StandardError)
  ClientError = Class.new(StandardError)
  TransientFailure = Class.new(StandardError)
  ActionFailed = Class.new(TransientFailure)

  # The state of an instance in its file.
  class StateFile
    def initialize(kitchen_root, name)
      @path = File.join(kitchen_root, ".kitchen", "#{name}.yml")
    end

    def read
      File.exist?(@path) ? YAML.safe_load_file(@path).transform_keys(&:to_sym) : {}
    end

    def write(state)
      FileUtils.mkdir_p(File.dirname(@path))
      # At once, because a spec reads it while a driver writes.
      File.write("#{@path}.new", YAML.dump(state.transform_keys(&:to_s)))
      File.rename("#{@path}.new", @path)
    end

    def destroy
      FileUtils.rm_f(@path)
    end
  end

  module Driver
    # Configuration, logging and the actions that do nothing.
    class Base
      class << self
        def kitchen_driver_api_version(version)
          @api_version = version
        end

        def plugin_version(version)
          @plugin_version = version
        end

        def diagnose
          { class: name, version: @plugin_version, api_version: @api_version }
        end

        def default_config(attribute, value = nil, &block)
          defaults[attribute] = block || value
        end

        def expand_path_for(attribute)
          expanded_paths << attribute
        end

        def required_config(attribute, &block)
          validations[attribute] = block || lambda do |_, value, driver|
            blank = "#{self}#{driver.instance.to_str}#config[:#{attribute}] cannot be blank"
            raise UserError, blank if value.to_s.empty?
          end
        end

        def defaults
          @defaults ||= superclass.respond_to?(:defaults) ? superclass.defaults.dup : {}
        end

        def expanded_paths
          @expanded_paths ||= superclass.respond_to?(:expanded_paths) ? superclass.expanded_paths.dup : []
        end

        def validations
          @validations ||= superclass.respond_to?(:validations) ? superclass.validations.dup : {}
        end
      end

      default_config :pre_create_command, nil

      attr_reader :instance

      def initialize(config = {})
        @given = self.class.defaults.merge(config)
      end

      def finalize_config!(instance)
        raise ClientError, "Instance must be provided to #{self}" if instance.nil?

        @instance = instance
        self.class.expanded_paths.each do |name|
          @given[name] = File.expand_path(self[name], self[:kitchen_root]) if self[name]
        end
        self.class.validations.each { |name, block| block.call(name, self[name], self) }
        self
      end

      def [](name)
        value = @given[name]
        value.respond_to?(:call) ? value.call(self) : value
      end

      def config_keys
        @given.keys
      end

      def diagnose
        config_keys.sort.to_h { |name| [name, self[name]] }
      end

      def windows_os?
        instance.platform.respond_to?(:os_type) && instance.platform.os_type == "windows"
      end

      def create(_state)
        command = self[:pre_create_command]
        raise ActionFailed, "pre_create_command '#{command}' failed" unless command.nil? || system(command)
      end

      def destroy(state); end

      def package(state); end

      def doctor(_state)
        false
      end

      %i[debug info warn error].each do |level|
        define_method(level) { |message| logger.public_send(level, message) }
      end

      private

      def config
        self
      end

      def logger
        instance.logger
      end
    end
  end
end
