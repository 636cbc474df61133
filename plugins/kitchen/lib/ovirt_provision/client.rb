# frozen_string_literal: true

require "grpc"
require "google/protobuf/well_known_types"
require "grpc/health/v1/health_services_pb"
require "ovirt_provision/v1/engines_services_pb"
require "ovirt_provision/v1/machines_services_pb"
require "ovirt_provision/v1/operations_services_pb"
require "ovirt_provision/v1/templates_services_pb"
require_relative "address"
require_relative "credentials"
require_relative "daemon"
require_relative "engine"
require_relative "error"

module OvirtProvision
  # A connection to the daemon about one engine. Its calls repeat themselves while the daemon is away, for as long as
  # the time-out `reconnect`; they raise Error.
  class Client
    # Seconds. `start`: until a started daemon serves. `connect`: until a daemon that listens serves. `call`: one
    # attempt at a call. `reconnect`: how long the daemon may be away, less than the grace of a session lease.
    # `answer`: for the answer to a verb once the caller has given up.
    TIMEOUTS = { start: 60, connect: 30, call: 120, reconnect: 240, answer: 10 }.freeze
    STUBS = {
      engines: V1::EngineService::Stub,
      machines: V1::MachineService::Stub,
      operations: V1::OperationService::Stub,
      templates: V1::TemplateService::Stub
    }.freeze
    ENDED = %i[STATE_SUCCEEDED STATE_FAILED STATE_CANCELLED].freeze
    # Seconds.
    FIRST_PAUSE = 0.2
    LONGEST_PAUSE = 5.0
    HEALTH_POLL = 0.1

    # `engine` goes into the field of that name of every request.
    attr_reader :engine, :address

    # Finds the daemon, starts it where nothing listens and no address was named, and waits until it serves.
    # `profile` names an engine profile of the daemon; `say` is told what takes a while.
    def initialize(user_agent:, profile: nil, environment: ENV, say: ->(_message) {}, timeouts: {})
      @environment = environment
      @say = say
      @timeouts = TIMEOUTS.merge(timeouts)
      @address = Address.resolve(environment)
      @engine = V1::EngineRef.new(**Engine.reference(profile, environment))
      @user_agent = user_agent
      @credentials = Credentials.for(address, environment)
      @channel = open_channel
      @stubs = STUBS.transform_values { |stub| stub.new(address.target, nil, channel_override: @channel) }
      @health = Grpc::Health::V1::Health::Stub.new(address.target, nil, channel_override: @channel)
      ensure_serving
    end

    # Ends the connection. Operations under way go on in the daemon.
    def close
      @channel.close
    end

    # Calls a method that answers at once, such as `call(:machines, :get_machine, request)`.
    def call(service, method, request)
      absence = Absence.new(self, @timeouts[:reconnect])
      begin
        @stubs.fetch(service).public_send(method, request, deadline: Time.now + @timeouts[:call])
      rescue GRPC::BadStatus => e
        refused = Refused.from_status(e)
        if refused.unanswered?
          raise Unreachable,
                "the daemon at #{address} has not answered #{method} within #{@timeouts[:call]} s (time-out `call`)"
        end
        absence.wait(refused)
        retry
      end
    end

    # Calls a verb, yields each snapshot of its operation and returns the last one. When the caller does not stay
    # until then, the operation is cancelled; the daemon undoes its effects. Raises Refused when the call or the
    # operation fails.
    def run(service, method, request)
      # In a thread of its own: who is interrupted before the answer still has to know which operation to cancel.
      answer = Thread.new { call(service, method, request).operation }
      answer.report_on_exception = false
      ended = follow(answer.value) { |operation| yield operation if block_given? }
      return ended if ended.state == :STATE_SUCCEEDED

      raise Refused,
            ended.error || V1::Error.new(message: "#{ended.verb} ended as #{ended.state} without an error")
    ensure
      cancel(answer) unless ended
    end

    # Whether the daemon says that it serves.
    def serving?
      @health.check(Grpc::Health::V1::HealthCheckRequest.new, deadline: Time.now + 2).status == :SERVING
    rescue GRPC::BadStatus => e
      @unserved = e.details
      false
    end

    # Returns once the daemon serves; starts one where that is ours to do. Raises Unreachable.
    def ensure_serving
      daemon = Daemon.new(address, environment: @environment, serving: method(:serving?),
                                   timeout: @timeouts[:start])
      if !address.listening?
        if address.explicit
          raise Unreachable, "no daemon listens at #{address}, which #{Address::VARIABLE} names; start it there with " \
                             "`ovirt-provision serve`, or unset the variable to have one started for you"
        end
        @say.call("Starting the ovirt-provision daemon...")
        daemon.start
      elsif !address.explicit
        daemon.check_private
      end
      wait_serving
    end

    # Tells the user, see `say`.
    def say(message)
      @say.call(message)
    end

    private

    def open_channel
      arguments = { "grpc.primary_user_agent" => @user_agent, "grpc.enable_http_proxy" => 0,
                    "grpc.initial_reconnect_backoff_ms" => 100, "grpc.min_reconnect_backoff_ms" => 100,
                    "grpc.max_reconnect_backoff_ms" => 1000 }
      GRPC::Core::Channel.new(address.target, arguments, @credentials)
    end

    def wait_serving
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + @timeouts[:connect]
      until serving?
        if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
          raise Unreachable,
                "the daemon at #{address} listens but has not served for #{@timeouts[:connect]} s#{why_unserved}"
        end

        sleep HEALTH_POLL
      end
    end

    def why_unserved
      return unless @unserved

      advice = "\n  what to do: see that #{Credentials::CA_FILE} is the CA of the daemon's certificate, and that the " \
               "daemon takes yours: one that is expired or of another CA ends the connection"
      ": #{@unserved}#{advice unless address.socket}"
    end

    def follow(operation)
      absence = Absence.new(self, @timeouts[:reconnect])
      yield operation
      until ENDED.include?(operation.state)
        begin
          request = V1::WatchOperationRequest.new(id: operation.id, after_revision: operation.revision)
          @stubs[:operations].watch_operation(request).each do |reply|
            absence.over
            operation = reply.operation
            yield operation
          end
          raise GRPC::Unavailable, "the daemon ended the stream early" unless ENDED.include?(operation.state)
        rescue GRPC::BadStatus => e
          absence.wait(Refused.from_status(e))
        end
      end
      operation
    end

    def cancel(answer)
      operation = answer.value if answer.join(@timeouts[:answer])
      return unless operation

      # A channel of its own: while a process ends, grpc leaves those alone that were in use.
      stub = STUBS.fetch(:operations).new(address.target, nil, channel_override: open_channel)
      stub.cancel_operation(V1::CancelOperationRequest.new(id: operation.id),
                            deadline: Time.now + @timeouts[:answer])
    rescue Error, GRPC::BadStatus
      # There is none, or the daemon ends it itself when it has not heard from us for a while.
      nil
    end

    # One stretch of time in which the daemon does not answer.
    class Absence
      def initialize(client, limit)
        @client = client
        @limit = limit
        over
      end

      # The daemon has answered.
      def over
        @pause = FIRST_PAUSE
        @since = nil
      end

      # Backs off and sees to it that a daemon serves. Returns when trying again makes sense; raises `error`, or that no
      # daemon can be had, otherwise.
      def wait(error)
        raise error unless error.away?

        unless @since
          @since = Process.clock_gettime(Process::CLOCK_MONOTONIC)
          @client.say("The daemon does not answer; waiting for it to come back...")
        end
        away = Process.clock_gettime(Process::CLOCK_MONOTONIC) - @since
        if away > @limit
          raise Unreachable,
                "the daemon at #{@client.address} has been away for #{away.round} s: #{error.message}"
        end

        sleep @pause
        @pause = [2 * @pause, LONGEST_PAUSE].min
        # Whoever ended the daemon did not mean our operation, which is in its ledger: the next one takes it up.
        @client.ensure_serving unless @client.address.explicit
      end
    end
    private_constant :Absence
  end
end
