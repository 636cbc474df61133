# frozen_string_literal: true

require "did_you_mean"
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
      # What Kitchen itself puts into the configuration of every driver.
      KITCHENS_OPTIONS = %i[name kitchen_root log_level test_base_path].freeze
      # The status of gRPC.
      NOT_FOUND = 5

      # Makes the instance's Machine, waits until its transport is ready and confirms that it is to stay.
      # Raises ActionFailed and UserError.
      def create(state)
        aloud do
          super
          warn_of_unknown_options
          connect(state) do |client|
            machine = standing(client, state) || make(client, state)
            reach(client, state, machine)
            client.call(:machines, :confirm_machine, message(:ConfirmMachineRequest, client, state))
            info("#{instance.to_str} is the VM #{state[:vm_name]} at #{state[:hostname]}.")
          end
        end
      end

      # Destroys the instance's Machine. One that is gone is destroyed already, one that was never begun needs no
      # daemon. Raises ActionFailed.
      def destroy(state)
        return unless state[:machine_key]

        aloud do
          connect(state) do |client|
            run(client, :destroy_machine,
                message(:DestroyMachineRequest, client, state, request_id: SecureRandom.uuid))
          end
        end
        own_key.remove
        forget(state)
      end

      # Looks for what would keep a create from working, tells it and returns true if there is anything.
      def doctor(state)
        aloud do
          warn_of_unknown_options
          connect(state) do |client|
            # A key that create would make does not matter here.
            public_key = key_pair.public_key if config[:ssh_key]
            Doctor.new(client, logger).trouble?(create_request(client, state, public_key))
          end
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
      rescue OvirtProvision::Error => e
        gone = e.is_a?(OvirtProvision::Refused) && e.code == NOT_FOUND
        told(gone ? false : nil, gone ? "gone" : "unknown", state[:vm_id], e.message)
      end

      private

      # The Machine that an earlier create has made, running, or nil.
      def standing(client, state)
        return unless state[:hostname]

        machine = client.call(:machines, :get_machine, message(:GetMachineRequest, client, state)).machine
        info("#{instance.to_str} exists already.")
        return machine unless machine.status == :STATUS_DOWN

        run(client, :start_machine,
            message(:StartMachineRequest, client, state, request_id: SecureRandom.uuid)).machine
      rescue OvirtProvision::Refused => e
        raise unless e.code == NOT_FOUND

        warn("The machine of #{instance.to_str} is gone; making it anew.")
        forget(state)
      end

      def make(client, state)
        state[:machine_key] ||= own_identity
        state[:engine] ||= config[:engine] if config[:engine]
        state.merge!(username: config[:username], ssh_key: key_pair.path)
        request = create_request(client, state, key_pair.public_key)
        # Before the request goes out: whatever ends us then, `kitchen destroy` knows what to destroy.
        save(state)
        run(client, :create_machine, request) do |operation|
          machine = operation.machine
          save(state.merge!(vm_id: machine.id,
                            vm_name: machine.name)) if machine && state[:vm_id] != machine.id
        end.machine
      end

      # Waits until the transport is ready. Until then the Machine has but a session, which is kept alive.
      def reach(client, state, machine)
        address = machine.addresses.map(&:ip).min_by { |ip| ip.include?(":") ? 1 : 0 }
        save(state.merge!(hostname: address, vm_id: machine.id, vm_name: machine.name))
        OvirtProvision::Lease.keep(client, state[:machine_key]) do
          instance.transport.connection(state).wait_until_ready
        end
      end

      def create_request(client, state, public_key)
        Request.new(config).create(engine: client.engine, key: state[:machine_key] || own_identity,
                                   public_key: public_key)
      end

      # Runs a verb and tells its phases as they come, with the instance: several may be at it.
      def run(client, method, request)
        phase = nil
        client.run(:machines, method, request) do |operation|
          if operation.phase != phase && !operation.phase.empty?
            queued = operation.phase == "queued" ? ", #{operation.progress}" : ""
            info("#{instance.to_str} #{operation.phase}#{queued}...")
          end
          phase = operation.phase
          debug("#{operation.percent} % #{operation.progress}")
          yield operation if block_given?
        end
      end

      def message(type, client, state, **fields)
        OvirtProvision::V1.const_get(type).new(engine: client.engine, key: state[:machine_key], **fields)
      end

      # Turns what is wrong between us and the daemon into Kitchen's errors, and shows every error on the console, where
      # Kitchen itself only says which log to read.
      def aloud
        yield
      rescue OvirtProvision::Error => e
        text = e.is_a?(OvirtProvision::Refused) ? e.render { |field| Request.option(field) } : e.message
        error(text)
        raise ActionFailed, text
      rescue Kitchen::StandardError => e
        error(e.message)
        raise
      end

      # Yields a client of the daemon.
      def connect(state)
        # Slow to load, and not needed for what does not ask the daemon.
        require "ovirt_provision/client"
        require "ovirt_provision/lease"
        require_relative "ovirt/doctor"
        require_relative "ovirt/request"
        client = OvirtProvision::Client.new(profile: state[:engine] || config[:engine], say: method(:info),
                                            user_agent: "kitchen-ovirt/#{OVIRT_VERSION}")
        yield client
      ensure
        client&.close
      end

      def warn_of_unknown_options
        known = self.class.defaults.keys + KITCHENS_OPTIONS
        (config_keys - known).each do |name|
          near = DidYouMean::SpellChecker.new(dictionary: known).correct(name).first
          warn("The driver has no option '#{name}'#{near ? "; did you mean '#{near}'?" : "."}")
        end
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

      def own_identity
        Identity.key(instance.name, config[:kitchen_root])
      end

      def forget(state)
        STATE.each { |name| state.delete(name) }
        nil
      end

      def told(live, state, resource_id = nil, message = nil)
        { live: live, state: state, source: "ovirt", resource_id: resource_id, message: message,
          checked_at: Time.now.utc.iso8601 }
      end
    end
  end
end

require_relative "ovirt/identity"
require_relative "ovirt/key_pair"
