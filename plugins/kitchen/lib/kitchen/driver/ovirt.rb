# frozen_string_literal: true

require "English"
require "kitchen"
require "kitchen/driver/base"
require "ovirt_provision/address"
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
      default_config :full_clone, false
      default_config :vm_name, nil
      default_config :vm_name_prefix, nil
      default_config(:description) { |driver| Identity.description(driver.instance.name, driver[:kitchen_root]) }
      default_config :cluster, nil
      default_config :cpus, nil
      default_config :memory, nil
      default_config :guaranteed_memory, nil
      default_config :instance_type, nil
      default_config :boot_disk, nil
      default_config :boot_disk_size, nil
      default_config :template_disks, nil
      default_config :disks, nil
      default_config :attached_disks, nil
      default_config :storage_domain, nil
      default_config :nics, nil
      default_config :operating_system, nil
      default_config :bios_type, nil
      default_config :tpm, nil
      default_config :virtio_scsi, nil
      default_config :virtio_scsi_multi_queues, nil
      default_config :nic_multi_queues, nil
      default_config :vnc_console, nil
      default_config :placement, nil
      default_config :affinity_groups, nil
      default_config :affinity_labels, nil
      default_config :quota, nil
      default_config :custom_properties, nil
      default_config :tags, nil
      default_config(:hostname) do |driver|
        Identity.host_name(driver.instance.name, driver.windows_guest? ? 15 : 63) unless driver[:sysprep] == false
      end
      default_config(:username, &:default_username)
      default_config(:ssh_key) { |driver| driver.instance.transport[:ssh_key] }
      expand_path_for :ssh_key
      default_config(:nic_configurations) do |driver|
        [{ name: "eth0", boot_protocol: "dhcp" }] unless driver.windows_guest? || driver[:ignition]
      end
      default_config :dns_servers, nil
      default_config :dns_search_domains, nil
      default_config :time_zone, nil
      default_config :ssh_password_authentication, nil
      default_config :user_data, nil
      default_config :cloud_config, nil
      default_config :ignition, nil
      default_config(:sysprep) { |driver| {} if driver.windows_os? }
      default_config :files, nil
      default_config :start_media, nil
      default_config :address_selection, nil
      default_config :ttl, nil
      default_config :timeouts, nil
      default_config :on_failure, "destroy"
      default_config :package, {}.freeze

      required_config :template do |_attribute, value, driver|
        if value.to_s.empty? && driver[:template_id].to_s.empty?
          raise UserError, "#{driver.class}#{driver.instance.to_str}#config[:template] cannot be blank: " \
                           "name a template, or give its template_id"
        end
      end

      # What create writes into the state, apart from what a transport reads there.
      STATE = %i[machine_key engine vm_id vm_name hostname username ssh_key].freeze
      # Options that may hold what nobody is to read.
      SECRETS = %i[user_data cloud_config ignition sysprep files].freeze
      # Statuses of gRPC.
      INVALID_ARGUMENT = 3
      NOT_FOUND = 5

      # Makes the instance's Machine, waits until its transport is ready and confirms that it is to stay.
      # Raises ActionFailed and UserError.
      def create(state)
        aloud do
          super
          tell_foreign_options
          connect(state) do |client, machine|
            request = Request.new(self)
            ttl = request.ttl
            standing = standing(machine, state)
            made = standing || make(client, machine, state, request)
            reach(machine, state, made) { give_up(machine, state, ttl) unless standing }
            machine.confirm(ttl)
            info("#{instance.to_str} is the VM #{state[:vm_name]} at #{state[:hostname]}.")
          end
        end
      end

      # Destroys the instance's Machine. One that is gone is destroyed already; for one that was never begun no daemon
      # is started. Raises ActionFailed.
      def destroy(state)
        aloud do
          find_lost(state) unless state[:machine_key]
          connect(state) { |_, machine| machine.destroy } if state[:machine_key]
        end
        own_key.remove
        forget(state)
      end

      # Makes a template version of the instance, which is down meanwhile and goes on afterwards.
      # Raises ActionFailed and UserError.
      def package(state)
        aloud("package.") do
          raise UserError, "#{instance.to_str} is not created; run `kitchen create` first" unless state[:hostname]

          connect(state) do |client, machine|
            request = Request.new(self).package(engine: client.engine, key: state[:machine_key])
            machine.prepare(request)
            made = while_down(machine, state) { machine.package(request) }
            info("#{instance.to_str} is packaged as template #{made.name} version #{made.version} (#{made.id}).")
          end
        end
      end

      # Looks for what would keep a create from working, tells it and returns true if there is anything.
      def doctor(state)
        aloud do
          tell_foreign_options
          connect(state) do |client|
            # A key that create would make does not matter here.
            known = public_key if config[:ssh_key]
            Doctor.new(client, logger).trouble?(create_request(client, state, Request.new(self), known))
          end
        end
      rescue ActionFailed, UserError
        true
      end

      # Whether the instance's Machine lives, for `kitchen list --live`.
      def status(state)
        return told(false, "not created") unless state[:machine_key]

        connect(state) do |_, machine|
          seen = machine.look
          name = seen.status.to_s.delete_prefix("STATUS_").downcase
          message = "VM #{seen.name} on #{seen.engine}#{until_when(seen.lease)}"
          told(seen.status == :STATUS_UP, name, seen.id, message)
        end
      rescue OvirtProvision::Error => e
        gone = gone?(e)
        told(gone ? false : nil, gone ? "gone" : "unknown", state[:vm_id], e.message)
      end

      # Whether sysprep sets the guest up, or nothing does.
      def windows_guest?
        windows_os? || !config[:sysprep].nil?
      end

      def winrm?
        instance.transport.name.casecmp?("winrm")
      end

      # The account to log in with, which the first boot makes, except on Windows.
      def default_username
        return "kitchen" unless windows_guest?

        winrm? ? instance.transport[:username] : "Administrator"
      end

      # What `kitchen diagnose` prints, without what is secret.
      def diagnose
        super.merge(SECRETS.to_h { |option| [option, config[option] && "(given)"] })
      end

      private

      # The Machine that an earlier create has made, running, or nil.
      def standing(machine, state)
        return unless state[:hostname]

        seen = machine.look
        info("#{instance.to_str} exists already.")
        seen.status == :STATUS_DOWN ? machine.start : seen
      rescue OvirtProvision::Refused => e
        raise unless gone?(e)

        warn("The machine of #{instance.to_str} is gone; making it anew.")
        forget(state)
      end

      def make(client, machine, state, request)
        state[:machine_key] ||= own_identity
        state[:engine] ||= config[:engine] if config[:engine]
        state.merge!({ username: config[:username], ssh_key: key_pair&.path }.compact)
        request = create_request(client, state, request, public_key)
        # Before the request goes out: whatever ends us then, `kitchen destroy` knows what to destroy.
        save(state)
        machine.create(request) do |seen|
          save(state.merge!(vm_id: seen.id, vm_name: seen.name)) if state[:vm_id] != seen.id
        end
      end

      # Waits until the transport is ready. Until then the Machine has but a session, which is kept alive. Yields when
      # that fails.
      def reach(machine, state, seen)
        # A guest whose agent is silent for a moment is where it was.
        address = seen.addresses.first&.ip || state[:hostname]
        save(state.merge!(hostname: address, vm_id: seen.id, vm_name: seen.name))
        raise ActionFailed, "#{instance.to_str}, VM #{seen.name}, reports no address" unless address

        info("#{instance.to_str} has the address #{address}; waiting for #{instance.transport.name}...")
        machine.in_session { instance.transport.connection(state).wait_until_ready }
      rescue ::StandardError
        yield
        raise
      end

      # What becomes of a Machine that was made and whose transport is never ready; the failure is told in any case.
      def give_up(machine, state, ttl)
        if config[:on_failure].to_s == "destroy"
          info("#{instance.to_str} cannot be reached and is destroyed, because on_failure is destroy.")
          machine.destroy
          forget(state)
        else
          machine.stop if config[:on_failure].to_s == "stop"
          machine.confirm(ttl)
          warn("#{instance.to_str} is kept as VM #{state[:vm_name]}, because on_failure is #{config[:on_failure]}; " \
               "`kitchen destroy` removes it.")
        end
      rescue OvirtProvision::Error => e
        warn("on_failure could not be heeded (#{e.message}); `kitchen destroy` removes the VM.")
      ensure
        save(state)
      end

      # Finds the Machine of an instance whose state was lost, by its key. No daemon is started for that.
      def find_lost(state)
        return unless OvirtProvision::Address.resolve(ENV).listening?

        lost = { machine_key: own_identity, engine: config[:engine] }.compact
        connect(lost) { |_, machine| machine.look }
        info("#{instance.to_str} has no state, but a machine of its key lives; destroying it.")
        state.merge!(lost)
      rescue OvirtProvision::Error => e
        warn("Whether #{instance.to_str} has left a machine is not known: #{e.message}") unless gone?(e)
      end

      # Yields while the instance's Machine is down, and has it run again if it ran.
      def while_down(machine, state)
        ran = machine.look.status != :STATUS_DOWN
        machine.stop if ran
        yield
      ensure
        # Who is interrupted does not wait for a start.
        run_again(machine, state) if ran && ($ERROR_INFO.nil? || $ERROR_INFO.is_a?(::StandardError))
      end

      def run_again(machine, state)
        reach(machine, state, machine.start) { warn("#{instance.to_str} runs again, but cannot be reached.") }
      end

      def create_request(client, state, request, public_key)
        request.create(engine: client.engine, key: state[:machine_key] || own_identity, public_key: public_key)
      end

      # Turns what is wrong between us and the daemon into Kitchen's errors, and shows every error on the console, where
      # Kitchen itself only says which log to read. Fields of a request are told as options, in `map` where they stand there.
      def aloud(map = nil)
        yield
      rescue OvirtProvision::Error => e
        named = ->(field) { map ? "#{map}#{field}" : Request.option(field) }
        text = e.is_a?(OvirtProvision::Refused) ? e.render(&named) : e.message
        error(text)
        raise (users_mistake?(e) ? UserError : ActionFailed), text
      rescue Kitchen::StandardError => e
        error(e.message)
        raise
      end

      # What is mended in the configuration.
      def users_mistake?(error)
        error.is_a?(OvirtProvision::Refused) && (error.code == INVALID_ARGUMENT || error.detail.violations.any?)
      end

      def gone?(error)
        error.is_a?(OvirtProvision::Refused) && error.code == NOT_FOUND
      end

      # Yields a client of the daemon, and the Machine that the state means.
      def connect(state)
        # Slow to load, and not needed for what does not ask the daemon.
        require "ovirt_provision/client"
        require_relative "ovirt/doctor"
        require_relative "ovirt/machine"
        require_relative "ovirt/request"
        client = OvirtProvision::Client.new(profile: state[:engine] || config[:engine], say: method(:info),
                                            user_agent: "kitchen-ovirt/#{OVIRT_VERSION}")
        yield client, Machine.new(client, state, instance.to_str, method(:info))
      ensure
        client&.close
      end

      def tell_foreign_options
        Options.new(self).foreign.each { |option| warn("The driver has no option '#{option}'; it is left alone.") }
      end

      # Writes the state now: Kitchen does so only when the action has ended, and never when it is killed.
      def save(state)
        StateFile.new(config[:kitchen_root], instance.name).write(state)
      end

      # The instance's key, which is made where none is given; none on Windows, which would not authorise it.
      def key_pair
        return KeyPair.new(config[:ssh_key]) if config[:ssh_key]

        KeyPair.at(own_key.path) unless windows_guest?
      end

      def public_key
        key_pair.public_key unless windows_guest?
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

      def until_when(lease)
        lease&.expire_time ? ", until #{lease.expire_time.to_time.utc.iso8601}" : ""
      end
    end
  end
end

require_relative "ovirt/identity"
require_relative "ovirt/key_pair"
require_relative "ovirt/options"
