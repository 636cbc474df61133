# frozen_string_literal: true

require_relative "lib/kitchen/driver/ovirt_version"

Gem::Specification.new do |gem|
  gem.name = "kitchen-ovirt"
  gem.version = Kitchen::Driver::OVIRT_VERSION
  gem.license = "Apache-2.0"
  gem.authors = ["The ovirt-provision authors"]
  gem.summary = "Test Kitchen driver for oVirt, through the ovirt-provision daemon"
  gem.homepage = "https://github.com/ovirt-provision/ovirt-provision"
  gem.files = Dir.chdir(__dir__) { ["README.md"] + Dir["lib/**/*.rb"] }
  gem.required_ruby_version = ">= 3.0"

  gem.add_dependency "google-protobuf", ">= 3.21", "< 5"
  gem.add_dependency "grpc", ">= 1.51", "< 2"
  gem.add_dependency "net-ssh", ">= 7.0", "< 8"
  gem.add_dependency "test-kitchen", ">= 2.12", "< 5"
end
