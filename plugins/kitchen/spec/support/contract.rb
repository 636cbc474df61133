# frozen_string_literal: true

require "kitchen"
require "kitchen/driver/base"
require "logger"
require "stringio"
require "tmpdir"

module Support
  # What the driver relies on of Test Kitchen's classes, as plain values: the real one and its stand-in have to agree.
  class Contract
    Toy = Class.new(Kitchen::Driver::Base) do
      kitchen_driver_api_version 2
      plugin_version "1.2.3"
      default_config :plain, 1
      default_config(:lazy) { |driver| "#{driver[:plain]} of #{driver.instance.name}" }
      default_config :file, nil
      expand_path_for :file
      required_config :needed
    end
    Heir = Class.new(Toy) { default_config :plain, 2 }

    Instance = Struct.new(:name, :logger, :platform, keyword_init: true) do
      def to_str
        "<#{name}>"
      end
    end
    Platform = Struct.new(:os_type, :shell_type)

    # Every fact by its name.
    def self.facts
      Dir.mktmpdir { |folder| new(folder).facts }
    end

    def initialize(folder)
      @folder = folder
      @log = StringIO.new
    end

    def facts
      configuration.merge(classes, actions, errors, state_file)
    end

    private

    def toy(given = {}, type: Toy, os_type: "unix")
      instance = Instance.new(name: "a-b", logger: Logger.new(@log), platform: Platform.new(os_type, "bourne"))
      type.new({ needed: 1, kitchen_root: @folder }.merge(given)).finalize_config!(instance)
    end

    # The class and the text of what the block raises.
    def raised
      yield
      "nothing"
    rescue Kitchen::StandardError => e
      [e.class.name, e.message.lines.first.strip.sub(/#<Class:0x\h+>/, "Toy"), e.original.class.name].join(" | ")
    end

    def configuration
      {
        "a default" => toy[:plain], "a given value" => toy({ plain: 5 })[:plain],
        "a default by block" => toy[:lazy], "a default by block follows" => toy({ plain: 5 })[:lazy],
        "an inherited default" => toy({}, type: Heir)[:lazy],
        "a relative path" => toy({ file: "x/y" })[:file] == File.join(@folder, "x/y"), "no path" => toy[:file],
        "an absolute path" => toy({ file: "/x" })[:file],
        "all keys" => toy({ other: 1 }).config_keys.sort.join(" "), "a key that nobody has" => toy[:nothing],
        "false is a value" => toy({ plain: false })[:plain]
      }
    end

    def classes
      {
        "defaults of the class" => Toy.defaults.keys.sort.join(" "), "the api version" => Toy.diagnose[:api_version],
        "the version" => Toy.diagnose[:version], "the diagnosis" => toy.diagnose.slice(:plain, :lazy, :needed),
        "Windows" => [toy, toy({}, os_type: "windows")].map(&:windows_os?)
      }
    end

    def actions
      {
        "create" => toy.create({}).nil?, "destroy" => toy.destroy({}).nil?, "package" => toy.package({}).nil?,
        "doctor" => toy.doctor({}), "a command before" => raised { toy({ pre_create_command: "true" }).create({}) },
        "a command before that fails" => raised do
                                           toy({ pre_create_command: "false" }).create({})
                                         end[/\A\S+ \| pre_create_command 'false'/],
        "what is logged" => toy.then { |driver| driver.error("oh") && @log.string[/ERROR.*oh/].nil? }
      }
    end

    def errors
      {
        "what is missing" => raised { toy({ needed: nil }) }, "what is blank" => raised { toy({ needed: "" }) },
        "no instance" => raised { Toy.new({}).finalize_config!(nil) }[/\A\S+/],
        "ancestors of ActionFailed" => Kitchen::ActionFailed.ancestors.take_while do |one|
                                         one != Exception
                                       end.grep(Class).map(&:name),
        "UserError is no ActionFailed" => Kitchen::UserError <= Kitchen::ActionFailed,
        "UserError" => Kitchen::UserError <= Kitchen::StandardError,
        "the original" => raised { wrap }
      }
    end

    def wrap
      raise ArgumentError, "inner"
    rescue ArgumentError
      raise Kitchen::ActionFailed, "outer"
    end

    def state_file
      file = Kitchen::StateFile.new(@folder, "a-b")
      nothing = file.read
      file.write({ hostname: "h", port: 1, list: ["x"] })
      { "no state" => nothing, "state" => file.read, "its file" => Dir.children(File.join(@folder, ".kitchen")),
        "its end" => file.destroy && file.read }
    end
  end
end
