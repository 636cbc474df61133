# frozen_string_literal: true

require "socket"
require_relative "error"

module OvirtProvision
  # Where the daemon listens: `target` is for gRPC, `socket` the path of a unix socket or nil. `explicit` is true when
  # the user named the address: that daemon is the user's, clients never start it.
  Address = Struct.new(:target, :socket, :explicit, keyword_init: true) do
    # Finds the address: OVIRT_PROVISION_ADDRESS, else the socket in XDG_RUNTIME_DIR, else the one in the state folder.
    # Raises Error when there is none that can be used.
    def self.resolve(environment)
      given = environment[self::VARIABLE].to_s
      return unix(given.delete_prefix("unix:").sub(%r{\A///}, "/"),
                  explicit: true) if given.start_with?("unix:")
      return tcp(given) unless given.empty?

      runtime = environment["XDG_RUNTIME_DIR"].to_s
      folder = if runtime.start_with?("/")
                 File.join(runtime,
                           "ovirt-provision")
               else
                 File.join(state_folder(environment),
                           "run")
               end
      unix(File.join(folder, "daemon.sock"), explicit: false)
    end

    # Where the daemon keeps its ledger and its log.
    def self.state_folder(environment)
      state = environment["XDG_STATE_HOME"].to_s
      return File.join(state, "ovirt-provision") if state.start_with?("/")

      home = environment["HOME"].to_s
      return File.join(home, ".local/state/ovirt-provision") if home.start_with?("/")

      raise Error, "the state folder of ovirt-provision cannot be found: neither HOME nor XDG_STATE_HOME is set; " \
                   "set #{self::VARIABLE} to the address of a running daemon"
    end

    def self.unix(path, explicit:)
      unless path.start_with?("/")
        raise Error, "#{self::VARIABLE} is 'unix:#{path}', but a socket path must be absolute, as in " \
                     "unix:/run/ovirt-provision/daemon.sock"
      end
      if path.bytesize > self::LONGEST_SOCKET_PATH
        raise Error, "the socket path #{path} is #{path.bytesize} bytes long, at most #{self::LONGEST_SOCKET_PATH} " \
                     "are possible; set XDG_RUNTIME_DIR or #{self::VARIABLE} to something shorter"
      end
      new(target: "unix:#{path}", socket: path, explicit: explicit)
    end

    # Accepts any host: there is no TCP without TLS, see Credentials.
    def self.tcp(given)
      return new(target: given, explicit: true) if given.match?(/\A\[?(.+?)\]?:\d+\z/)

      raise Error, "#{self::VARIABLE} is '#{given}', but must be unix:/path or host:port"
    end

    private_class_method :unix, :tcp

    # Whether a daemon is there right now, be it too busy to accept a connection.
    def listening?
      (socket ? UNIXSocket.new(socket) : reach).close
      true
    rescue Errno::ENOENT, Errno::ECONNREFUSED
      false
    rescue SystemCallError
      true
    rescue SocketError => e
      raise Unreachable, "#{self.class::VARIABLE} is '#{target}', and that host is not known: #{e.message}"
    end

    def reach
      host, port = target.match(/\A\[?(.+?)\]?:(\d+)\z/).captures
      Socket.tcp(host, port, connect_timeout: self.class::CONNECT_TIMEOUT)
    end
    private :reach

    def to_s
      target
    end
  end

  Address::VARIABLE = "OVIRT_PROVISION_ADDRESS"
  # Seconds.
  Address::CONNECT_TIMEOUT = 5
  # What fits sockaddr_un with its final zero byte, see unix(7).
  Address::LONGEST_SOCKET_PATH = 107
end
