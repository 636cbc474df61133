# frozen_string_literal: true

require "timeout"
require "tmpdir"
# Test Kitchen 4.1 needs it and does not load it.
require "time"

begin
  require "kitchen"
rescue LoadError
  $LOAD_PATH.unshift(File.expand_path("support/stand_in", __dir__))
  require "kitchen"
end
$LOAD_PATH.unshift(File.expand_path("../lib", __dir__))
require "kitchen/driver/ovirt"
require "kitchen/driver/ovirt/request"
require_relative "support/fake_daemon"
require_relative "support/instance"
require_relative "support/stage"
require_relative "support/with_fake_daemon"

STAND_IN = defined?(Kitchen::STAND_IN)

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.order = :random
  config.include(Support::Instances)

  config.before(:suite) do
    tested_against = STAND_IN ? "a stand-in, because Test Kitchen is not installed" : "Test Kitchen #{Kitchen::VERSION}"
    warn("The driver is tested against #{tested_against}.")
  end
  # An example that waits for what never comes fails. Real guests take their time.
  config.around { |example| Timeout.timeout(example.metadata[:live] ? 900 : 60) { example.run } }
  config.around { |example| Dir.mktmpdir("kitchen-") { |folder| (@folder = folder) && example.run } }
  config.before(:each, :real_kitchen) { skip("needs Test Kitchen, which is not installed") if STAND_IN }
  config.before(:each, :live) { skip("is run by `make kitchen-live`, or with KITCHEN_LIVE=1") unless ENV["KITCHEN_LIVE"] }
  config.before(:each, :daemon) { skip("needs .venv/bin/ovirt-provision") unless Support::Stage.possible? }
  config.after(:suite) { Support::Stage.clear }
end
