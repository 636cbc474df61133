# frozen_string_literal: true

# A daemon that answers as it is told, at the address that the environment names.
RSpec.shared_context "with a fake daemon" do
  around do |example|
    path = File.join(folder, "daemon.sock")
    Support::FakeDaemon.serve(path) do |fake|
      @fake = fake
      with_environment("OVIRT_PROVISION_ADDRESS" => "unix:#{path}", "OVIRT_URL" => "") { example.run }
    end
  end

  let(:fake) { @fake }

  # A status of gRPC by its name.
  def code(name)
    GRPC::Core::StatusCodes.const_get(name)
  end
end

# A driver of an instance that has no state yet.
RSpec.shared_context "with a driver" do
  include_context "with a fake daemon"

  let(:state) { {} }
  let(:transport) { Support::Instances::Transport.new }

  def driver(config = {})
    @driver ||= make_driver(config, transport: transport)
  end
end
