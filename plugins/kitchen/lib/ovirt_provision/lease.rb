# frozen_string_literal: true

require_relative "error"

module OvirtProvision
  # The session lease of a Machine, while its owner is at work on it.
  module Lease
    # Seconds, until the daemon has said how often to renew.
    INTERVAL = 30
    # Statuses of gRPC: NOT_FOUND and ABORTED. There is nothing more to be kept.
    LOST = [5, 10].freeze

    module_function

    # Renews the lease of the Machine `key` until the block has ended, and returns what the block returns. That a lease
    # is lost is not told here: to confirm it fails. Other failures are tried again: the daemon grants a grace.
    def keep(client, key)
      renewing = Thread.new { renew(client, V1::RenewLeaseRequest.new(engine: client.engine, key: key)) }
      yield
    ensure
      renewing&.kill&.join
    end

    def renew(client, request)
      interval = INTERVAL
      loop do
        asked = client.call(:machines, :renew_lease, request).renew_interval.to_f
        interval = asked if asked.positive?
        sleep(interval)
      rescue Error => e
        break if e.is_a?(Refused) && LOST.include?(e.code)

        sleep(interval / 4.0)
      end
    end
    private_class_method :renew
  end
end
