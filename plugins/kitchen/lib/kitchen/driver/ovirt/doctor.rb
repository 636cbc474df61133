# frozen_string_literal: true

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # Tells what would keep instances from being made.
      class Doctor
        # Findings go to `logger`.
        def initialize(client, logger)
          @client = client
          @logger = logger
        end

        # Examines the engine, and whether it has all that a CreateMachineRequest names. True if there is a problem.
        def trouble?(request)
          examined = examine
          request.validate_only = true
          @client.call(:machines, :create_machine, request)
          examined
        rescue OvirtProvision::Refused => e
          # Without violations it is most often what the examination has told.
          @logger.error(e.render { |field| Request.option(field) }) unless examined && e.detail.violations.empty?
          true
        end

        private

        # An engine that cannot be reached is a finding, too.
        def examine
          request = OvirtProvision::V1::ExamineEngineRequest.new(engine: @client.engine)
          @client.call(:engines, :examine_engine, request).findings.map do |finding|
            text = [finding.summary, finding.advice].reject(&:empty?).join(" ")
            case finding.severity
            when :SEVERITY_PROBLEM then @logger.error("#{finding.name}: #{text}")
            when :SEVERITY_WARNING then @logger.warn("#{finding.name}: #{text}")
            else @logger.info("#{finding.name}: #{text}")
            end
            finding.severity == :SEVERITY_PROBLEM
          end.any?
        end
      end
    end
  end
end
