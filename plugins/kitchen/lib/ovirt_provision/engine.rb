# frozen_string_literal: true

require "digest"
require_relative "error"

module OvirtProvision
  # The engine that a caller's environment means.
  module Engine
    VARIABLES = %w[OVIRT_URL OVIRT_USERNAME OVIRT_PASSWORD OVIRT_CAFILE].freeze

    module_function

    # The fields of the schema's EngineRef: a named profile stands alone; otherwise, where OVIRT_URL is set, the
    # fingerprint of the environment goes along, so that the daemon of another shell refuses.
    def reference(profile, environment)
      return { profile: profile.to_s } if !profile.to_s.empty? || environment["OVIRT_URL"].to_s.empty?

      { fingerprint: fingerprint(environment) }
    end

    # `EngineRef.fingerprint` of the schema. Raises Error when the CA file cannot be read.
    def fingerprint(environment)
      file = environment["OVIRT_CAFILE"].to_s
      authority = file.empty? ? "" : File.binread(File.expand_path(file))
      digest = authority.empty? ? "" : Digest::SHA256.hexdigest(authority)
      Digest::SHA256.hexdigest([environment["OVIRT_URL"], environment["OVIRT_USERNAME"], digest].join("\n"))
    rescue SystemCallError => e
      raise Error, "the CA file named by OVIRT_CAFILE cannot be read: #{e.message}"
    end

    # The caller's OVIRT_* variables as NAME=value lines, for the standard input of a daemon.
    def lines(environment)
      VARIABLES.filter_map do |name|
        value = environment[name].to_s
        next if value.empty?
        raise Error, "#{name} contains a line break" if value.match?(/[\r\n]/)

        # The daemon's working directory is not ours.
        value = File.expand_path(value) if name == "OVIRT_CAFILE"
        "#{name}=#{value}\n"
      end.join
    end
  end
end
