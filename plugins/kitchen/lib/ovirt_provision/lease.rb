# frozen_string_literal: true

require_relative "error"

module OvirtProvision
  # The session lease of a Machine, while its owner is at work on it.
  module Lease
    # Seconds, until the daemon has said how often to renew.
    INTERVAL = 30

    module_function

    # Renews the lease of the Machine `key` until the block has ended, and returns what the block returns. That a lease
    # cannot be kept is not told here: to confirm it fails.
    def keep(client, key)
      renewing = Thread.new { renew(client, V1::RenewLeaseRequest.new(engine: client.engine, key: key)) }
      yield
    ensure
      renewing&.kill&.join
    end

    def renew(client, request)
      loop do
        asked = client.call(:machines, :renew_lease, request).renew_interval
        sleep(asked&.seconds.to_i.positive? ? asked.seconds : INTERVAL)
      end
    rescue Error
      nil
    end
    private_class_method :renew
  end
end
