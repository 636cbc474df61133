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

        # Tells people who look at the VM in the engine whose it is.
        def description(instance_name, kitchen_root)
          "Test Kitchen instance #{instance_name} of #{user}@#{Socket.gethostname}:#{kitchen_root}"
        end

        def user
          Etc.getpwuid&.name || Process.uid.to_s
        end

        # `tk-<instance>-<hash>`, a valid name of a VM.
        def key(instance_name, kitchen_root, user: self.user, host: Socket.gethostname)
          prefix = instance_name.gsub(/[^A-Za-z0-9-]+/, "-")[0, LONGEST_PREFIX]
          digest = Digest::SHA256.hexdigest([instance_name, kitchen_root, user, host].join("\0"))
          "tk-#{prefix}-#{digest[0, 12]}"
        end

        # A valid host name of at most `longest` letters that resembles the name of the instance, and that no other
        # instance has.
        def host_name(instance_name, longest = 63)
          whole = instance_name.gsub(/[^A-Za-z0-9-]+/, "-").gsub(/\A-+|-+\z/, "")
          return whole if whole.length <= longest

          "#{whole[0, longest - 7]}-#{Digest::SHA256.hexdigest(instance_name)[0, 6]}"
        end
      end
    end
  end
end
