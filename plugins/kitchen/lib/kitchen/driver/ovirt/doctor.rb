# frozen_string_literal: true

require "did_you_mean"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # Tells what would keep instances from being made.
      class Doctor
        # As many templates as the schema allows in one reply.
        TEMPLATES = 1000

        # Findings go to `logger`.
        def initialize(client, logger)
          @client = client
          @logger = logger
        end

        # Examines the engine, and whether it has the template of a CreateMachineRequest. True if there is a problem.
        def trouble?(request)
          [examine, look_for(request.spec.template)].any?
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

        # True if the engine was asked and does not have the template.
        def look_for(wanted)
          return false unless wanted.by == :name

          request = OvirtProvision::V1::ListTemplatesRequest.new(engine: @client.engine, page_size: TEMPLATES)
          names = @client.call(:templates, :list_templates, request).templates.map(&:name).uniq
          return false if names.include?(wanted.name)

          near = DidYouMean::SpellChecker.new(dictionary: names).correct(wanted.name).first
          hint = near ? "; did you mean '#{near}'?" : "."
          @logger.error("template: the engine has none of the name '#{wanted.name}'#{hint}")
          true
        rescue OvirtProvision::Refused
          # The examination has told why the engine does not answer.
          false
        end
      end
    end
  end
end
