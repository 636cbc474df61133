# frozen_string_literal: true

require "fileutils"
require "net/ssh"
require "openssl"

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # An SSH key pair by the path of its private key.
      class KeyPair
        attr_reader :path

        # The pair at `path`, which is made if it is not there.
        def self.at(path)
          FileUtils.mkdir_p(File.dirname(path))
          File.open(path, File::WRONLY | File::CREAT | File::EXCL, 0o600) do |file|
            # net-ssh 7.0 cannot read an Ed25519 key as OpenSSL writes it, and RSA takes long.
            file.write(OpenSSL::PKey::EC.generate("prime256v1").to_pem)
          end
          new(path)
        rescue Errno::EEXIST
          new(path)
        end

        def initialize(path)
          @path = path
        end

        # The public key in OpenSSH's format. Raises UserError when it cannot be had.
        def public_key
          beside = "#{path}.pub"
          return File.read(beside).strip if File.exist?(beside)

          key = Net::SSH::KeyFactory.load_private_key(path, nil, false)
          key = key.public_key if key.respond_to?(:public_key) && !key.is_a?(OpenSSL::PKey::EC)
          "#{key.ssh_type} #{[key.to_blob].pack("m0")}"
        rescue SystemCallError, OpenSSL::PKey::PKeyError, ArgumentError, NotImplementedError,
               Net::SSH::Exception => e
          raise UserError,
                "the public part of the SSH key #{path} cannot be had (#{e.message}); put it into #{beside}"
        end

        def remove
          FileUtils.rm_f(path)
        end
      end
    end
  end
end
