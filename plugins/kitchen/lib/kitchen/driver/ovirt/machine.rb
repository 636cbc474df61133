# frozen_string_literal: true

require "securerandom"
require "ovirt_provision/lease"
require_relative "progress"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # The Machine of an instance, by the key in its state, through a client of the daemon. What takes a while is told.
      class Machine
        V1 = OvirtProvision::V1

        # `label` is the instance in what is told by `say`, since several instances may be at it.
        def initialize(client, state, label, say)
          @client = client
          @state = state
          @label = label
          @say = say
        end

        # The Machine as it is now. Raises Refused with NOT_FOUND where there is none.
        def look
          @client.call(:machines, :get_machine, message(:GetMachineRequest)).machine
        end

        # Makes it; yields it each time that something new is known of it.
        def create(request)
          run(:machines, :create_machine, request) do |operation|
            yield operation.machine if operation.machine
          end.machine
        end

        def start
          run(:machines, :start_machine, message(:StartMachineRequest, request_id: SecureRandom.uuid)).machine
        end

        def stop
          run(:machines, :stop_machine, message(:StopMachineRequest, request_id: SecureRandom.uuid))
        end

        def destroy
          run(:machines, :destroy_machine, message(:DestroyMachineRequest, request_id: SecureRandom.uuid))
        end

        # Ends the session: from now on it lives for `ttl`, or for ever.
        def confirm(ttl)
          @client.call(:machines, :confirm_machine, message(:ConfirmMachineRequest, ttl: ttl))
        end

        # Keeps the session while the block runs.
        def in_session(&block)
          OvirtProvision::Lease.keep(@client, @state[:machine_key], &block)
        end

        # Makes a CreateTemplateRequest fit what there is: the next version of a template, unless it is to be replaced.
        # Raises Refused with all that is wrong with it.
        def prepare(request)
          named = V1::ListTemplatesRequest.new(engine: @client.engine, name: request.name, page_size: 1)
          request.new_version = !request.replace && @client.call(:templates, :list_templates, named).templates.any?
          # A first version has no name of its own, and none before it.
          unless request.new_version
            request.version_name = ""
            request.keep_versions = 0
          end
          @client.call(:templates, :create_template, request.dup.tap { |copy| copy.validate_only = true })
        end

        # Makes a template of it.
        def package(request)
          made = run(:templates, :create_template, request)
          made.warnings.each { |warning| @say.call("#{@label} #{warning}") }
          made.template
        end

        private

        def run(service, method, request)
          ended = Progress.of(@label, @say) do |progress|
            @client.run(service, method, request) do |operation|
              progress.show(operation)
              yield operation if block_given?
            end
          end
          @say.call("#{@label} #{Progress.durations(ended)}")
          ended
        end

        def message(type, **fields)
          V1.const_get(type).new(engine: @client.engine, key: @state[:machine_key], **fields)
        end
      end
    end
  end
end
