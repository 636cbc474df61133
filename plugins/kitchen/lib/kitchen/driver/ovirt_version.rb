# frozen_string_literal: true

module Kitchen
  module Driver
    # Version of the gem.
    OVIRT_VERSION = "0.1.0"
  end
end
