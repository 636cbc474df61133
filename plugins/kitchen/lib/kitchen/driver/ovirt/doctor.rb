# frozen_string_literal: true

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # Tells what would keep instances from being made, and what is well.
      class Doctor
        V1 = OvirtProvision::V1
        # Seconds that the daemon's clock may differ from ours.
        CLOCK_SKEW = 30
        # How far back it is looked for the experience with a template.
        OPERATIONS = 1000

        # Findings go to `logger`.
        def initialize(client, logger)
          @client = client
          @logger = logger
        end

        # Examines the daemon, the engine, and whether that has all that a CreateMachineRequest names. True if there is
        # a problem.
        def trouble?(request)
          examined = [daemon, engine].any?
          return true if refused?(request, silent: examined)

          agent(request)
          examined
        end

        private

        def daemon
          told = @client.call(:engines, :list_engines, V1::ListEnginesRequest.new).daemon
          ok("daemon", "answers at #{@client.address}, version #{told.version}, state in #{told.state_folder}")
        end

        # An engine that cannot be reached is a finding, too.
        def engine
          examined = @client.call(:engines, :examine_engine, V1::ExamineEngineRequest.new(engine: @client.engine))
          examined.findings.map { |finding| tell(finding) }.push(clock(examined.examine_time)).any?
        end

        def tell(finding)
          text = [finding.summary, finding.advice].reject(&:empty?).join(". ")
          case finding.severity
          when :SEVERITY_PROBLEM then problem(finding.name, text)
          when :SEVERITY_WARNING then warning(finding.name, text)
          else ok(finding.name, text)
          end
        end

        def clock(time)
          skew = time ? (time.to_f - Time.now.to_f).round : 0
          return false if skew.abs <= CLOCK_SKEW

          warning("clock", "the daemon's clock is #{skew.abs} s #{skew.positive? ? "ahead of" : "behind"} this machine's. " \
                           "Let both take their time by NTP")
        end

        # `silent` when the examination has told already why nothing can be looked up.
        def refused?(request, silent:)
          request = request.dup.tap { |copy| copy.validate_only = true }
          @client.call(:machines, :create_machine, request)
          ok("references", references(request.spec))
        rescue OvirtProvision::Refused => e
          problem("configuration", e.render { |field| Request.option(field) }) unless silent && e.detail.violations.empty?
          true
        end

        def references(spec)
          template = spec.template
          named = { "template" => template.by == :id ? template.id : template.name, "cluster" => spec.cluster,
                    "vNIC profiles" => spec.nics.map(&:vnic_profile).join(", ") }
          "the engine has #{named.reject { |_, name| name.empty? }.map { |what, name| "#{what} #{name}" }.join(", ")}"
        end

        # No engine tells whether the guests of a template have an agent. Those that were made of it do.
        def agent(request)
          template = template(request) or return
          outcome = outcomes(template.id).first
          what = "template #{template.name} version #{template.version}"
          case outcome&.state
          when :STATE_SUCCEEDED then ok("agent", "the guests of #{what} report their addresses")
          when :STATE_FAILED
            warning("agent", "the last guest of #{what} reported no address. " \
                             "See that qemu-guest-agent is installed and enabled in it")
          else ok("agent", "not known yet: nothing was made of #{what}, which needs qemu-guest-agent to tell its address")
          end
        end

        # The template that a request means; nil where the account does not see it.
        def template(request)
          wanted = request.spec.template
          if wanted.by == :id
            asked = V1::GetTemplateRequest.new(engine: request.engine, id: wanted.id)
            return @client.call(:templates, :get_template, asked).template
          end
          asked = V1::ListTemplatesRequest.new(engine: request.engine, name: wanted.name, page_size: 1000)
          ready = @client.call(:templates, :list_templates, asked).templates.select { |found| found.status == :STATUS_OK }
          wanted.version.zero? ? ready.max_by(&:version) : ready.find { |found| found.version == wanted.version }
        end

        # The creates that tell whether a template's guests report their addresses, newest first.
        def outcomes(template_id)
          asked = V1::ListOperationsRequest.new(page_size: OPERATIONS)
          @client.call(:operations, :list_operations, asked).operations.select do |operation|
            operation.verb == "CreateMachine" && operation.machine&.template_id == template_id &&
              (operation.state == :STATE_FAILED ? operation.phase == "waiting-for-address" : operation.machine.addresses.any?)
          end
        end

        def ok(name, text)
          @logger.info("#{name}: #{text}")
          false
        end

        def warning(name, text)
          @logger.warn("#{name}: #{text}")
          false
        end

        def problem(name, text)
          @logger.error("#{name}: #{text}")
          true
        end
      end
    end
  end
end
