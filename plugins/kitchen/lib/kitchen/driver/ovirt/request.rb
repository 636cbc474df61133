# frozen_string_literal: true

require "json"
require "securerandom"
require "yaml"
require "ovirt_provision/v1/machines_pb"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # The request that a driver's configuration means. It converts; what the values may be is the schema's to say.
      class Request
        MEBIBYTE = 1 << 20
        GIBIBYTE = 1 << 30
        UNITS = { "" => 1, "K" => 1 << 10, "M" => MEBIBYTE, "G" => GIBIBYTE, "T" => 1 << 40 }.freeze
        SIZE = /\A\s*(\d+)\s*(?:([KMGT])i?)?B\s*\z/i
        # Where the schema's fields come from.
        OPTIONS = {
          "spec.template.id" => "template_id", "spec.template.name" => "template",
          "spec.template.version" => "template_version", "spec.template" => "template",
          "spec.name" => "vm_name", "spec.clone" => "full_clone", "spec.cpu" => "cpus", "spec.memory_bytes" => "memory",
          "spec.boot_disk.size_bytes" => "boot_disk_size", "spec.boot_disk" => "boot_disk_size", "spec." => "",
          "start_with.user_name" => "username", "start_with.host_name" => "hostname",
          "start_with.authorized_ssh_keys" => "ssh_key", "start_with." => "", "engine.profile" => "engine"
        }.freeze

        # The option behind a field of the request: `nics[0].vnic_profile` for `spec.nics[0].vnic_profile`.
        def self.option(field)
          from, to = OPTIONS.find { |prefix, _| field.start_with?(prefix) }
          from ? to + field.delete_prefix(from) : field
        end

        # `config` is a driver's configuration.
        def initialize(config)
          @config = config
          @problems = []
        end

        # The schema's CreateMachineRequest; `public_key` may be nil. Raises UserError that tells all that is wrong.
        def create(engine:, key:, public_key:)
          request = { engine: engine, request_id: SecureRandom.uuid, key: key, spec: spec,
                      start_with: initialization(public_key) }
          made = guard("driver") { OvirtProvision::V1::CreateMachineRequest.new(**request) }
          return made if @problems.empty?

          raise UserError, ["the driver's configuration is wrong:", *@problems].join("\n  * ")
        end

        private

        attr_reader :config

        def spec
          message(:MachineSpec, template: template, name: text(:vm_name), description: text(:description),
                                cluster: text(:cluster), clone: flag(:full_clone), cpu: cpu,
                                memory_bytes: size(:memory, MEBIBYTE, "MiB"), boot_disk: boot_disk,
                                nics: list(:nics) { |nic, at| message(:Nic, at, nic) })
        end

        def template
          by = config[:template_id] ? { id: text(:template_id) } : { name: text(:template) }
          message(:TemplateRef, **by, version: number(:template_version, config[:template_version] || 0))
        end

        # A number is that many cores of one socket.
        def cpu
          given = config[:cpus]
          return if given.nil?
          return message(:Cpu, "cpus", given) if given.is_a?(Hash)

          message(:Cpu, sockets: 1, cores: number(:cpus, given), threads: 1)
        end

        def boot_disk
          size = size(:boot_disk_size, GIBIBYTE, "GiB")
          message(:BootDisk, size_bytes: size) if size&.positive?
        end

        def initialization(public_key)
          message(:Initialization, user_name: text(:username), authorized_ssh_keys: [public_key].compact,
                                   host_name: text(:hostname), custom_script: custom_script,
                                   nic_configurations: nic_configurations, dns_servers: strings(:dns_servers),
                                   dns_search_domains: strings(:dns_search_domains))
        end

        def nic_configurations
          list(:nic_configurations) do |nic, at|
            protocol = (nic[:boot_protocol] || (nic[:static_address] ? "static" : "dhcp")).to_s
            unless %w[dhcp none static].include?(protocol)
              problem("#{at}.boot_protocol", "'#{protocol}' is given; it must be dhcp, none or static")
              next
            end
            message(:NicConfiguration, at, nic.merge(boot_protocol: :"BOOT_PROTOCOL_#{protocol.upcase}"))
          end
        end

        # Cloud-config as text or as the structure that it is.
        def custom_script
          given = config[:custom_script]
          return given.to_s unless given.is_a?(Hash)

          YAML.dump(JSON.parse(JSON.generate(given))).delete_prefix("---\n")
        end

        def message(type, at = nil, fields = nil, **given)
          guard(at) { OvirtProvision::V1.const_get(type).new(**(fields || given)) }
        end

        # protobuf says what is wrong with a field by ArgumentError, TypeError or RangeError.
        def guard(at)
          yield
        rescue ArgumentError, TypeError, RangeError => e
          problem(at, e.message)
          nil
        end

        def problem(option, text)
          @problems << [option, text].compact.join(": ")
          nil
        end

        def text(option)
          given = config[option]
          return "" if given.nil?
          return given.to_s if given.is_a?(String) || given.is_a?(Numeric) || given.is_a?(Symbol)

          problem(option, "#{given.inspect} is given; it must be text") || ""
        end

        def strings(option)
          Array(config[option]).map(&:to_s)
        end

        def flag(option)
          given = config[option]
          return given if [true, false].include?(given)

          problem(option, "#{given.inspect} is given; it must be true or false") || false
        end

        def number(option, given)
          return given if given.is_a?(Integer)
          return given.to_i if given.is_a?(String) && given.match?(/\A\d+\z/)

          problem(option, "#{given.inspect} is given; it must be a whole number") || 0
        end

        # In bytes. A bare number counts in `unit`.
        def size(option, unit, name)
          given = config[option]
          case given
          when nil then 0
          when Integer then given * unit
          when /\A\d+\z/ then given.to_i * unit
          when SIZE then Regexp.last_match(1).to_i * UNITS.fetch(Regexp.last_match(2).to_s.upcase)
          else problem(option,
                       "#{given.inspect} is given; it must be a number of #{name} or a size such as '4 GiB'") || 0
          end
        end

        def list(option)
          given = config[option] || []
          return problem(option,
                         "#{given.inspect} is given; it must be a list") || [] unless given.is_a?(Array)

          given.each_with_index.filter_map do |entry, index|
            at = "#{option}[#{index}]"
            if entry.is_a?(Hash)
              yield(entry.transform_keys(&:to_sym), at)
            else
              problem(at,
                      "#{entry.inspect} is given; it must be a map")
            end
          end
        end
      end
    end
  end
end
