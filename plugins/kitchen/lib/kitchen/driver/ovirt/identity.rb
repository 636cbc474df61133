# frozen_string_literal: true

require "digest"
require "etc"
require "socket"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # The key of an instance's Machine. It follows from whose instance it is, so that it is the same in the next
      # attempt, and differs between checkouts, users and hosts that share a daemon.
      module Identity
        LONGEST_PREFIX = 40

        module_function

        # `tk-<instance>-<hash>`, a valid name of a VM.
        def key(instance_name, kitchen_root, user: Etc.getpwuid&.name || Process.uid.to_s,
                host: Socket.gethostname)
          prefix = instance_name.gsub(/[^A-Za-z0-9-]+/, "-")[0, LONGEST_PREFIX]
          "tk-#{prefix}-#{Digest::SHA256.hexdigest([instance_name, kitchen_root, user, host].join("\0"))[0,
                                                                                                         12]}"
        end

        # A valid host name that resembles the name of the instance.
        def host_name(instance_name)
          instance_name.gsub(/[^A-Za-z0-9-]+/, "-")[0, 63].gsub(/\A-+|-+\z/, "")
        end
      end
    end
  end
end
