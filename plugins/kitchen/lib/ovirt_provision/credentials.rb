# frozen_string_literal: true

require "grpc"
require_relative "address"
require_relative "error"

module OvirtProvision
  # How the daemon is spoken to: in the clear over a unix socket in a folder of ours, with TLS and proof of who calls
  # over TCP.
  module Credentials
    # What every client reads when OVIRT_PROVISION_ADDRESS is host:port.
    CA_FILE = "OVIRT_PROVISION_CA_FILE"
    CERT_FILE = "OVIRT_PROVISION_CERT_FILE"
    KEY_FILE = "OVIRT_PROVISION_KEY_FILE"
    TOKEN_FILE = "OVIRT_PROVISION_TOKEN_FILE"

    # The credentials of a channel to the address, as grpc takes them. Raises Error.
    def self.for(address, environment)
      return :this_channel_is_insecure if address.socket

      given = [CA_FILE, CERT_FILE, KEY_FILE, TOKEN_FILE].reject { |name| environment[name].to_s.empty? }
      check(address, given)
      content = given.to_h { |name| [name, read(name, environment[name])] }
      channel = GRPC::Core::ChannelCredentials.new(content[CA_FILE], content[KEY_FILE], content[CERT_FILE])
      return channel unless given.include?(TOKEN_FILE)

      bearer = { authorization: "Bearer #{content[TOKEN_FILE].strip}" }
      channel.compose(GRPC::Core::CallCredentials.new(->(_context) { bearer }))
    end

    def self.check(address, given)
      missing =
        if !given.include?(CA_FILE) then "#{CA_FILE} is not set"
        elsif given.include?(CERT_FILE) != given.include?(KEY_FILE) then "#{CERT_FILE} and #{KEY_FILE} go together"
        elsif given.include?(CERT_FILE) == given.include?(TOKEN_FILE)
          "either #{CERT_FILE} or #{TOKEN_FILE} must be set"
        end
      return unless missing

      raise Error, "#{Address::VARIABLE} is '#{address}', and TCP takes TLS: #{missing}; set #{CA_FILE}, and either " \
                   "#{CERT_FILE} with #{KEY_FILE} or #{TOKEN_FILE}; or forward the daemon's socket, as in " \
                   "`ssh -L /path/daemon.sock:/path/daemon.sock host`"
    end

    def self.read(name, path)
      content = File.read(path)
      kind = { CA_FILE => "CERTIFICATE", CERT_FILE => "CERTIFICATE", KEY_FILE => "PRIVATE KEY" }[name]
      # grpc would crash on some of these, and say nothing of the file on the others.
      if kind ? !content.include?("#{kind}-----") : content.strip.empty?
        raise Error, "#{name}: #{path} holds no #{kind ? "#{kind.downcase} in PEM format" : "token"}"
      end

      content
    rescue SystemCallError => e
      raise Error, "#{name}: #{e.message}"
    end

    private_class_method :check, :read
  end
end
