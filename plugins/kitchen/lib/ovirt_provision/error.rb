# frozen_string_literal: true

module OvirtProvision
  # What went wrong between a client and its daemon.
  class Error < StandardError
    # Stable name of the daemon's typed error, such as NAME_IN_USE; nil where the daemon said nothing.
    def reason; end

    # True when the daemon is away, so that repeating the call is right.
    def away?
      false
    end
  end

  # No daemon answers, and none can be started.
  class Unreachable < Error; end

  # The typed error of the bridge, from a call that failed or an operation that did: `detail` is the schema's `Error`.
  class Refused < Error
    # What a daemon says that is starting up or going down.
    NOT_SERVING = "DAEMON_NOT_SERVING"
    DEADLINE_EXCEEDED = 4
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14

    attr_reader :detail

    # Makes one of a GRPC::BadStatus.
    def self.from_status(status)
      typed = status.to_rpc_status&.details.to_a.find { |any| any.is(V1::Error) }
      return new(typed.unpack(V1::Error)) if typed

      outdated = "The daemon is older than this driver: upgrade ovirt-provision and restart its daemon."
      detail = V1::Error.new(code: status.code, message: status.details.to_s,
                             advice: status.code == UNIMPLEMENTED ? outdated : "")
      new(detail, typed: false)
    end

    def initialize(detail, typed: true)
      @detail = detail
      @typed = typed
      super(render(&:itself))
    end

    def reason
      detail.reason unless detail.reason.empty?
    end

    def code
      detail.code
    end

    # An UNAVAILABLE of the daemon's own, such as an engine that cannot be reached, is an answer.
    def away?
      code == UNAVAILABLE && (!@typed || reason == NOT_SERVING)
    end

    # True when the transport has ended a call to which the daemon gave no answer in time.
    def unanswered?
      code == DEADLINE_EXCEEDED && !@typed
    end

    # The whole error for people; the block may rename the fields of the request.
    def render
      lines = detail.violations.map do |violation|
        "  * #{[yield(violation.field), violation.description].reject(&:empty?).join(": ")}"
      end
      lines.unshift(lines.empty? ? detail.message : "the request was refused:")
      lines[0] += " (while #{detail.phase})" unless detail.phase.empty?
      { "the engine says" => detail.engine_text, "what to do" => detail.advice,
        "correlation id" => detail.correlation_id }
        .each do |label, value|
        lines << "  #{label}: #{value}" unless value.empty?
      end
      lines.join("\n")
    end
  end
end
