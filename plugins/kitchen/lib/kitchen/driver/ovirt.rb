# frozen_string_literal: true

require "securerandom"
require "kitchen"
require "kitchen/driver/base"
require "ovirt_provision/error"
require_relative "ovirt_version"

module Kitchen
  module Driver
    # Instances that are Machines of ovirt-provision. All provisioning is the daemon's; the driver asks and waits.
    class Ovirt < Kitchen::Driver::Base
      kitchen_driver_api_version 2
      plugin_version OVIRT_VERSION

      default_config :engine, nil
      default_config(:template) { |driver| driver.instance.platform.name unless driver[:template_id] }
      default_config :template_id, nil
      default_config :template_version, nil
      default_config :vm_name, nil
      default_config :description, nil
      default_config :cluster, nil
      default_config :full_clone, false
      default_config :cpus, nil
      default_config :memory, nil
      default_config :boot_disk_size, nil
      default_config :nics, nil
      default_config(:hostname) { |driver| Identity.host_name(driver.instance.name) }
      default_config :username, "kitchen"
      default_config(:ssh_key) { |driver| driver.instance.transport[:ssh_key] }
      expand_path_for :ssh_key
      default_config :nic_configurations, [{ name: "eth0", boot_protocol: "dhcp" }].freeze
      default_config :dns_servers, nil
      default_config :dns_search_domains, nil
      default_config :custom_script, nil

      required_config :template do |_attribute, value, driver|
        if value.to_s.empty? && driver[:template_id].to_s.empty?
          raise UserError, "#{driver.class}#{driver.instance.to_str}#config[:template] cannot be blank: " \
                           "name a template, or give its template_id"
        end
      end

      # What create writes into the state, apart from what a transport reads there.
      STATE = %i[machine_key engine vm_id vm_name hostname username ssh_key].freeze

      # Makes the instance's Machine, waits until its transport is ready and confirms that it is to stay.
      # Raises ActionFailed and UserError.
      def create(state)
        super
        with_client(state) do |client|
          machine = standing(client, state) || make(client, state)
          address = machine.addresses.map(&:ip).min_by { |ip| ip.include?(":") ? 1 : 0 }
          save(state.merge!(hostname: address, vm_id: machine.id, vm_name: machine.name))
          OvirtProvision::Lease.keep(client, state[:machine_key]) { instance.transport.connection(state).wait_until_ready }
          client.call(:machines, :confirm_machine, message(:ConfirmMachineRequest, client, state))
          info("#{instance.to_str} is the VM #{machine.name} at #{address}.")
        end
      end

      # Destroys the instance's Machine. One that is gone is destroyed already, one that was never begun needs no daemon.
      # Raises ActionFailed.
      def destroy(state)
        return unless state[:machine_key]

        with_client(state) do |client|
          request = message(:DestroyMachineRequest, client, state, request_id: SecureRandom.uuid)
          run(client, :destroy_machine, request)
        end
        own_key.remove
        STATE.each { |name| state.delete(name) }
      end

      # Looks for what would keep a create from working, and returns true if there is anything.
      def doctor(state)
        with_client(state) do |client|
          engine = client.call(:engines, :get_engine, OvirtProvision::V1::GetEngineRequest.new(engine: client.engine)).engine
          info("The daemon at #{client.address} serves oVirt #{engine.version} at #{engine.url} as #{engine.username}.")
          create_request(client, state)
          missing_template?(client)
        end
      rescue ActionFailed, UserError
        true
      end

      # Whether the instance's Machine lives, for `kitchen list --live`.
      def status(state)
        return told(false, "not created") unless state[:machine_key]

        connect(state) do |client|
          machine = client.call(:machines, :get_machine, message(:GetMachineRequest, client, state)).machine
          name = machine.status.to_s.delete_prefix("STATUS_").downcase
          told(machine.status == :STATUS_UP, name, machine.id, "VM #{machine.name} on #{machine.engine}")
        end
      rescue OvirtProvision::Refused => e
        e.code == GRPC::Core::StatusCodes::NOT_FOUND ? told(false, "gone", state[:vm_id], e.message) : told(nil, "unknown", state[:vm_id], e.message)
      rescue OvirtProvision::Error => e
        told(nil, "unknown", state[:vm_id], e.message)
      end

      private

      # The Machine that an earlier create has made, or nil.
      def standing(client, state)
        return unless state[:hostname]

        machine = client.call(:machines, :get_machine, message(:GetMachineRequest, client, state)).machine
        info("#{instance.to_str} stands already.")
        machine
      rescue OvirtProvision::Refused => e
        raise unless e.code == GRPC::Core::StatusCodes::NOT_FOUND

        warn("The machine of #{instance.to_str} is gone; making it anew.")
        STATE.each { |name| state.delete(name) }
        nil
      end

      def make(client, state)
        state[:machine_key] ||= Identity.key(instance.name, config[:kitchen_root])
        state[:engine] ||= config[:engine] if config[:engine]
        state[:username] = config[:username]
        state[:ssh_key] = key_pair.path
        request = create_request(client, state)
        # Before the request goes out: whatever ends us then, `kitchen destroy` knows what to destroy.
        save(state)
        run(client, :create_machine, request) do |operation|
          machine = operation.machine
          save(state.merge!(vm_id: machine.id, vm_name: machine.name)) if machine && state[:vm_id] != machine.id
        end.machine
      end

      def create_request(client, state)
        key = state[:machine_key] || Identity.key(instance.name, config[:kitchen_root])
        Request.new(config).create(engine: client.engine, key: key, public_key: key_pair.public_key)
      end

      def missing_template?(client)
        return false unless config[:template] && !config[:template_id]

        request = OvirtProvision::V1::ListTemplatesRequest.new(engine: client.engine, name: config[:template])
        return false if client.call(:templates, :list_templates, request).templates.any?

        error("The engine has no template '#{config[:template]}'.")
        true
      end

      # Runs a verb and tells its phases as they come.
      def run(client, method, request)
        phase = nil
        client.run(:machines, method, request) do |operation|
          info("#{operation.phase}...") if operation.phase != phase && !operation.phase.empty?
          phase = operation.phase
          debug("#{operation.percent} % #{operation.progress}")
          yield operation if block_given?
        end
      end

      def message(type, client, state, **fields)
        OvirtProvision::V1.const_get(type).new(engine: client.engine, key: state[:machine_key], **fields)
      end

      # Yields a client of the daemon; what it raises becomes Kitchen's, and is shown on the console, where Kitchen itself
      # only says which log to read.
      def with_client(state, &block)
        connect(state, &block)
      rescue OvirtProvision::Error => e
        text = e.is_a?(OvirtProvision::Refused) ? e.message.gsub(/^(  \* )([^:\s]+)/) { $1 + Request.option($2) } : e.message
        error(text)
        raise ActionFailed, text
      rescue UserError => e
        error(e.message)
        raise
      end

      def connect(state)
        # Not needed, and slow to load, for what does not ask the daemon.
        require "ovirt_provision/client"
        require "ovirt_provision/lease"
        require_relative "ovirt/request"
        client = OvirtProvision::Client.new(profile: state[:engine] || config[:engine], say: method(:info),
                                            user_agent: "kitchen-ovirt/#{OVIRT_VERSION}")
        yield client
      ensure
        client&.close
      end

      # Writes the state now: Kitchen does so only when the action has ended, and never when it is killed.
      def save(state)
        StateFile.new(config[:kitchen_root], instance.name).write(state)
      end

      def key_pair
        config[:ssh_key] ? KeyPair.new(config[:ssh_key]) : KeyPair.at(own_key.path)
      end

      # The key that is made for the instance alone.
      def own_key
        KeyPair.new(File.join(config[:kitchen_root], ".kitchen", "#{instance.name}.pem"))
      end

      def told(live, state, resource_id = nil, message = nil)
        { live: live, state: state, source: "ovirt", resource_id: resource_id, message: message, checked_at: Time.now.utc.iso8601 }
      end
    end
  end
end

require_relative "ovirt/identity"
require_relative "ovirt/key_pair"
