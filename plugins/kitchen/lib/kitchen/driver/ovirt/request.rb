# frozen_string_literal: true

require "json"
require "securerandom"
require "yaml"
require_relative "conversion"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # The requests that a driver's configuration means. It converts; what the values may be is the schema's to say.
      class Request
        V1 = OvirtProvision::V1
        # The options that are fields of MachineSpec, with their names there.
        SPEC = {
          vm_name: "name", description: "description", cluster: "cluster", full_clone: "clone", cpus: "cpu",
          memory: "memory_bytes", guaranteed_memory: "guaranteed_memory_bytes", boot_disk: "boot_disk",
          template_disks: "template_disks", disks: "new_disks", attached_disks: "attached_disks",
          storage_domain: "storage_domain", nics: "nics", instance_type: "instance_type", bios_type: "bios_type", tpm: "tpm",
          virtio_scsi: "virtio_scsi", virtio_scsi_multi_queues: "virtio_scsi_multi_queues",
          nic_multi_queues: "nic_multi_queues", placement: "placement", affinity_groups: "affinity_groups",
          affinity_labels: "affinity_labels", quota: "quota", custom_properties: "custom_properties", tags: "tags",
          operating_system: "operating_system", vnc_console: "vnc_console"
        }.freeze
        # The options that are fields of Initialization, with their names there.
        INITIALIZATION = {
          username: "user_name", hostname: "host_name", nic_configurations: "nic_configurations",
          dns_servers: "dns_servers", dns_search_domains: "dns_search_domains", time_zone: "time_zone",
          ssh_password_authentication: "ssh_password_authentication", user_data: "user_data", ignition: "ignition",
          sysprep: "sysprep", files: "files"
        }.freeze
        # The options that are fields of CreateMachineRequest itself.
        CREATE = {
          on_failure: "on_failure", timeouts: "timeouts", address_selection: "address_selection", start_media: "start_media"
        }.freeze
        # Other fields of the request, with the options that they come from.
        OTHERS = {
          "spec.template.id" => "template_id", "spec.template.name" => "template",
          "spec.template.version" => "template_version", "spec.template" => "template",
          "start_with.authorized_ssh_keys" => "ssh_key",
          "engine.profile" => "engine", "engine" => "engine"
        }.freeze
        # What a request to package says of its own accord.
        OURS = %w[engine request_id machine_key new_version validate_only].freeze
        FIELDS = [["spec.", SPEC], ["start_with.", INITIALIZATION], ["", CREATE]].flat_map do |prefix, options|
          options.map { |option, field| ["#{prefix}#{field}", option.to_s] }
        end.to_h.merge(OTHERS).freeze

        # The option behind a field of the request: `nics[0].vnic_profile` for `spec.nics[0].vnic_profile`, `memory` for
        # `spec.memory_bytes`.
        def self.option(field)
          from, to = FIELDS.find { |path, _| field == path || field.start_with?("#{path}.", "#{path}[") }
          (from ? to + field.delete_prefix(from) : field).gsub(/(?<=[a-z])_bytes\b/, "")
        end

        # `driver` has the configuration and knows the instance.
        def initialize(driver)
          @driver = driver
          @conversion = Conversion.new
        end

        # The schema's CreateMachineRequest; `public_key` may be nil. Raises UserError that tells all that is wrong.
        def create(engine:, key:, public_key:)
          @key = key
          Options.new(@driver).misspelt.each { |option, text| problem(option, text) }
          ttl_given
          made = guard do
            V1::CreateMachineRequest.new(engine: engine, request_id: SecureRandom.uuid, key: key, spec: spec,
                                         start_with: initialization(public_key), **fields(CREATE, V1::CreateMachineRequest))
          end
          insist
          made
        end

        # The schema's CreateTemplateRequest that packages the Machine `key`. Raises UserError that tells all that is
        # wrong.
        def package(engine:, key:)
          given = { "seal" => !@driver.windows_guest?, "name" => @driver.instance.name }.merge(map(:package))
          (given.keys & OURS).each { |field| problem("package.#{field}", "is the driver's to say; leave it out") }
          made = guard { @conversion.message(V1::CreateTemplateRequest, given, "package") }
          insist
          made.engine = engine
          made.request_id = SecureRandom.uuid
          made.machine_key = key
          made
        end

        # How long the Machine lives once it is confirmed, a Duration; nil for ever. Raises UserError.
        def ttl
          ttl_given.tap { insist }
        end

        private

        def config
          @driver
        end

        def problem(option, text)
          @conversion.problem(option, text)
        end

        # protobuf says what is wrong with a field by these.
        def guard
          yield
        rescue ArgumentError, TypeError, RangeError => e
          problem(nil, e.message)
        end

        def insist
          return if @conversion.problems.empty?

          raise UserError, ["the driver's configuration is wrong:", *@conversion.problems].join("\n  * ")
        end

        # The fields of a message that options of the driver give.
        def fields(options, type)
          options.each_with_object({}) do |(option, name), made|
            given = given(option)
            next if given.nil?

            made[name.to_sym] = @conversion.value(type.descriptor.lookup(name), given, option.to_s)
          end.compact
        end

        def given(option)
          case option
          when :vm_name then vm_name
          when :cpus then cpus
          when :boot_disk then boot_disk
          when :nic_configurations then nic_configurations
          when :username then config[:username] unless @driver.windows_guest?
          when :user_data then user_data
          when :ignition then ignition
          when :sysprep then sysprep
          else config[option]
          end
        end

        def ttl_given
          @conversion.duration(config[:ttl], "ttl") unless config[:ttl].nil?
        end

        # Without any the daemon takes the key, which begins with `tk-`.
        def vm_name
          return config[:vm_name] unless config[:vm_name].nil? && config[:vm_name_prefix]

          prefix = @conversion.text(config[:vm_name_prefix], "vm_name_prefix") and "#{prefix}#{@key.delete_prefix("tk-")}"
        end

        # A number is that many cores of one socket.
        def cpus
          given = config[:cpus]
          return given if given.nil? || given.is_a?(Hash)

          cores = @conversion.number(given, "cpus") and { "sockets" => 1, "cores" => cores, "threads" => 1 }
        end

        def map(option)
          given = config[option] || {}
          return given.transform_keys(&:to_s) if given.is_a?(Hash)

          problem(option, "#{given.inspect} is given; it must be a map") || {}
        end

        def spec
          V1::MachineSpec.new(template: template, **fields(SPEC, V1::MachineSpec))
        end

        def template
          version = config[:template_version]
          version = version.nil? || version == "latest" ? 0 : @conversion.number(version, "template_version")
          by = config[:template_id] ? { id: config[:template_id] } : { name: config[:template] }
          by = by.to_h { |name, given| [name, @conversion.text(given, name == :id ? "template_id" : "template")] }
          V1::TemplateRef.new(**by, version: version)
        end

        # `boot_disk_size` is short for a boot disk with but that.
        def boot_disk
          size = config[:boot_disk_size]
          return config[:boot_disk] if size.nil?
          return problem("boot_disk_size", "is given, and so is boot_disk; put the size there") if config[:boot_disk]

          bytes = @conversion.size(size, "boot_disk_size") and { "size_bytes" => bytes }
        end

        # What has a static address needs not say that it is static, and what has none is configured by DHCP.
        def nic_configurations
          given = config[:nic_configurations]
          return given unless given.is_a?(Array)

          given.map do |nic|
            next nic unless nic.is_a?(Hash)

            nic = nic.transform_keys(&:to_s)
            { "boot_protocol" => nic.key?("static_address") || nic.key?("static_range") ? "static" : "dhcp" }.merge(nic)
          end
        end

        def initialization(public_key)
          insist_on_login
          V1::Initialization.new(authorized_ssh_keys: [public_key].compact, **fields(INITIALIZATION, V1::Initialization))
        end

        # Sysprep authorises no keys, so that nobody could log in with one that was made here.
        def insist_on_login
          return unless @driver.windows_guest? && !@driver.winrm?
          return if config[:ssh_key] || @driver.instance.transport[:password]

          problem("ssh_key", "is needed, since Windows is given none: the private key to one that the template knows, " \
                             "or a password of the transport")
        end

        # As text, as the name of a file with the text, or as the structure that cloud-config is.
        def user_data
          text, structure = %i[user_data cloud_config].map { |option| config[option] }
          if text && structure
            problem("cloud_config", "is given, and so is user_data; put both into one of them")
          elsif structure
            cloud_config(structure)
          elsif text
            file_or_text("user_data", text)
          end
        end

        # As text, as the name of a file with the text, or as the structure that it is.
        def ignition
          given = config[:ignition]
          return JSON.generate(given) if given.is_a?(Hash)

          file_or_text("ignition", given) if given
        end

        # The password of the administrator is the one that the transport logs in with, unless another is given.
        def sysprep
          given = config[:sysprep] || nil
          return given unless given.is_a?(Hash)

          password = @driver.instance.transport[:password]
          given = given.transform_keys(&:to_s)
          given["unattend_xml"] &&= file_or_text("sysprep.unattend_xml", given["unattend_xml"])
          { "admin_password" => password }.compact.merge(given.compact)
        end

        def cloud_config(given)
          return problem("cloud_config", "#{given.inspect} is given; it must be a map") unless given.is_a?(Hash)

          # By JSON, because the keys of Kitchen's configuration are symbols, which YAML would write as such.
          YAML.dump(JSON.parse(JSON.generate(given))).delete_prefix("---\n")
        end

        # What has no line break and does not begin as such text does is a path, relative to the project.
        def file_or_text(option, given)
          text = @conversion.text(given, option) or return
          return text if text.include?("\n") || text.start_with?("#", "{", "<")

          File.read(File.expand_path(text, config[:kitchen_root]))
        rescue SystemCallError => e
          problem(option, "#{text.inspect} is given; it must be text, or a file that can be read (#{e.message})")
        end
      end
    end
  end
end
