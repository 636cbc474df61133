# frozen_string_literal: true

require "did_you_mean"
require "ovirt_provision/v1/machines_pb"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # From what YAML holds to messages of the schema, by the schema's own descriptors: an option of a map is a field,
      # a list a repeated field, `static` the enum value BOOT_PROTOCOL_STATIC, `30s` a Duration and `20 GiB` a size.
      # What does not fit is a problem that names the option, what was given and what is allowed; all are collected.
      class Conversion
        UNITS = { "" => 1, "K" => 1 << 10, "M" => 1 << 20, "G" => 1 << 30, "T" => 1 << 40 }.freeze
        SIZE = /\A\s*(\d+)\s*(?:([KMGT])i?)?B\s*\z/i
        SECONDS = { "s" => 1, "m" => 60, "h" => 3600, "d" => 86_400 }.freeze
        TIME = /\A\s*(\d+)\s*([smhd])\s*\z/
        # Sizes without a unit, by the end of the option's name.
        BARE = { "memory" => ["MiB", 1 << 20] }.freeze
        BARE_SIZE = ["GiB", 1 << 30].freeze

        # What is wrong so far, a line each.
        attr_reader :problems

        def initialize
          @problems = []
        end

        # The message of the class `type` that the map `given` means; nil where it is none. `at` is the option.
        def message(type, given, at)
          return problem(at, "#{given.inspect} is given; it must be a map") unless given.is_a?(Hash)

          fields = given.each_with_object({}) do |(name, value), made|
            field = field(type.descriptor, name.to_s, at) or next
            made[field.name] = value(field, value, "#{at}.#{name}") unless value.nil?
          end
          type.new(**fields.compact.transform_keys(&:to_sym))
        end

        # The value of a field of the schema.
        def value(field, given, at)
          return map(field, given, at) if map?(field)
          return one(field, given, at) unless field.label == :repeated

          list = given.is_a?(Array) ? given : [given]
          list.each_with_index.filter_map { |entry, index| one(field, entry, "#{at}[#{index}]") }
        end

        # Adds to what is wrong; nil.
        def problem(at, text)
          @problems << [at, text].compact.join(": ")
          nil
        end

        def text(given, at)
          return given.to_s if [String, Numeric, Symbol, TrueClass, FalseClass].any? { |type| given.is_a?(type) }

          problem(at, "#{given.inspect} is given; it must be text")
        end

        def flag(given, at)
          return given if [true, false].include?(given)

          problem(at, "#{given.inspect} is given; it must be true or false")
        end

        def number(given, at)
          return given if given.is_a?(Integer)
          return given.to_i if given.is_a?(String) && given.match?(/\A-?\d+\z/)

          problem(at, "#{given.inspect} is given; it must be a whole number")
        end

        # In bytes.
        def size(given, at)
          name, unit = BARE.find { |option, _| at.end_with?(option) }&.last || BARE_SIZE
          case given
          when Integer then given * unit
          when /\A\d+\z/ then given.to_i * unit
          when SIZE then Regexp.last_match(1).to_i * UNITS.fetch(Regexp.last_match(2).to_s.upcase)
          else problem(at, "#{given.inspect} is given; it must be a number of #{name} or a size such as '4 GiB'")
          end
        end

        # In seconds.
        def seconds(given, at)
          case given
          when Numeric then given
          when /\A\d+\z/ then given.to_i
          when TIME then Regexp.last_match(1).to_i * SECONDS.fetch(Regexp.last_match(2))
          else problem(at, "#{given.inspect} is given; it must be a number of seconds or a time such as 90s, 30m, 8h or 2d")
          end
        end

        # The Duration of a time.
        def duration(given, at)
          seconds = seconds(given, at) or return
          Google::Protobuf::Duration.new(seconds: seconds.to_i, nanos: ((seconds % 1) * 1_000_000_000).to_i)
        end

        private

        # A size is an option without the unit that its field's name has.
        def field(descriptor, name, at)
          descriptor.lookup(name) || descriptor.lookup("#{name}_bytes") || begin
            known = descriptor.map { |field| field.name.delete_suffix("_bytes") }
            near = DidYouMean::SpellChecker.new(dictionary: known).correct(name).first
            allowed = near ? "did you mean '#{near}'?" : "there are #{known.join(", ")}"
            problem([at, name].join("."), "is no option here; #{allowed}")
          end
        end

        def map(field, given, at)
          return problem(at, "#{given.inspect} is given; it must be a map") unless given.is_a?(Hash)

          value = field.subtype.lookup("value")
          given.to_h { |name, entry| [name.to_s, one(value, entry, "#{at}.#{name}")] }.compact
        end

        def one(field, given, at)
          case field.type
          when :message
            duration?(field) ? duration(given, at) : message(field.subtype.msgclass, given, at)
          when :enum then enum(field.subtype, given, at)
          when :bool then flag(given, at)
          when :string then text(given, at)
          when :bytes then text(given, at)&.b
          else
            field.name.end_with?("_bytes") && !at.end_with?("_bytes") ? size(given, at) : number(given, at)
          end
        end

        def enum(descriptor, given, at)
          prefix = "#{descriptor.name.split(".").last.gsub(/(?<=[a-z0-9])(?=[A-Z])/, "_").upcase}_"
          names = descriptor.to_h.keys.map { |name| name.to_s.delete_prefix(prefix) } - ["UNSPECIFIED"]
          wanted = given.to_s.tr("-", "_").upcase
          return :"#{prefix}#{wanted}" if names.include?(wanted)

          problem(at, "#{given.inspect} is given; it must be one of #{names.map(&:downcase).join(", ")}")
        end

        def duration?(field)
          field.subtype.name == "google.protobuf.Duration"
        end

        # google-protobuf 3.21 tells no options of a message, but the name of a map's entries follows from the field's.
        def map?(field)
          entry = "#{field.name.split("_").map(&:capitalize).join}Entry"
          field.label == :repeated && field.type == :message && field.subtype.name.end_with?(".#{entry}")
        end
      end
    end
  end
end
