# frozen_string_literal: true

require "fileutils"
require_relative "address"
require_relative "engine"

module OvirtProvision
  # Starts the daemon for a client when nothing listens, as every client does.
  class Daemon
    PROGRAM = "ovirt-provision"
    # Seconds.
    POLL = 0.1
    LOG_LINES = 20

    # `serving` is asked whether the daemon at `address` serves; `timeout` is in seconds.
    def initialize(address, environment:, serving:, timeout:)
      @address = address
      @environment = environment
      @serving = serving
      @timeout = timeout
    end

    # Starts a daemon that outlives us, unless another client does so at the same time, and returns once it serves.
    # Raises Unreachable.
    def start
      state = Address.state_folder(@environment)
      folder = File.dirname(@address.socket)
      [state, folder].each { |path| FileUtils.mkdir_p(path, mode: 0o700) }
      check_private
      File.open("#{@address.socket}.start", File::RDWR | File::CREAT, 0o600) do |lock|
        deadline = now + @timeout
        take(lock, deadline)
        next if @address.listening?

        log = File.join(state, "daemon.log")
        begins_at = File.size?(log).to_i
        wait_until_serving(Process.detach(spawn(log)), log, begins_at, deadline)
      end
    end

    # Refuses a folder in which somebody else could have put a socket of theirs. Raises Unreachable.
    def check_private
      folder = File.dirname(@address.socket)
      info = File.lstat(folder)
      trouble =
        if !info.directory? then "is not a folder"
        elsif info.uid != Process.euid then "belongs to user #{info.uid} and not to you"
        elsif (info.mode & 0o077).positive? then format("is open to others (mode %04o); run `chmod 700 %s`",
                                                        info.mode & 0o7777, folder)
        end
      raise Unreachable, "#{folder}, which holds the daemon's socket, #{trouble}" if trouble
    end

    private

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    def take(lock, deadline)
      until lock.flock(File::LOCK_EX | File::LOCK_NB)
        raise Unreachable,
              "another client has been starting the daemon for #{@timeout} s and holds #{lock.path}" if now > deadline

        sleep POLL
      end
    end

    def spawn(log)
      program = find_program
      variables = Engine.lines(@environment)
      kept = @environment.to_h.select do |name, _|
        %w[PATH HOME LANG].include?(name) || name.start_with?("XDG_")
      end
      # The engine's password goes through a pipe: neither the process list nor the daemon's environment holds it.
      reader, writer = IO.pipe
      child = fork do
        Process.setsid
        writer.close
        exec(kept, [program, program], "serve", "--auto-started",
             unsetenv_others: true, chdir: "/", in: reader, out: [log, "a", 0o600], err: %i[child out])
      end
      reader.close
      writer.write(variables)
      child
    rescue Errno::EPIPE
      child
    ensure
      writer&.close
    end

    def find_program
      programs = @environment["PATH"].to_s.split(":").map { |folder| File.expand_path(PROGRAM, folder) }
      found = programs.find { |path| File.file?(path) && File.executable?(path) }
      return found if found

      raise Unreachable, "no daemon runs and `#{PROGRAM}` is not on PATH, so none can be started: install it " \
                         "with `pipx install #{PROGRAM}`, or set #{Address::VARIABLE} to the address of a daemon " \
                         "that runs elsewhere, such as unix:/run/ovirt-provision/daemon.sock"
    end

    def wait_until_serving(child, log, begins_at, deadline)
      until @serving.call
        outcome =
          # It ends with success when another daemon was quicker, which is then about to serve.
          if !child.alive? && !child.value.success? then "ended before it served (#{child.value})"
          elsif now > deadline then "did not serve within #{@timeout} s"
          end
        raise Unreachable,
              "the daemon was started but #{outcome}; the end of its log, #{log}:\n#{tail(log,
                                                                                          begins_at)}" if outcome

        sleep POLL
      end
    end

    def tail(log, begins_at)
      lines = File.open(log) { |file| file.seek(begins_at) && file.readlines(chomp: true) }
      lines.empty? ? "    (empty)" : lines.last(LOG_LINES).map { |line| "    #{line}" }.join("\n")
    end
  end
end
