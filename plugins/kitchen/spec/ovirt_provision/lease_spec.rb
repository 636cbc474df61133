# frozen_string_literal: true

RSpec.describe OvirtProvision::Lease do
  it "is renewed on, whatever a renewal fails of that does not end it" do
    path = File.join(folder, "daemon.sock")
    Support::FakeDaemon.serve(path) do |fake|
      renewed = Queue.new
      fake.on(:RenewLease) do
        renewed.push(true)
        fake.refuse(GRPC::Core::StatusCodes::INTERNAL, message: "a defect") if fake.requests(:RenewLease).size == 2

        OvirtProvision::V1::RenewLeaseResponse.new(renew_interval: { nanos: 4_000_000 })
      end
      client = OvirtProvision::Client.new(user_agent: "spec", environment: { "OVIRT_PROVISION_ADDRESS" => "unix:#{path}" })
      expect(described_class.keep(client, "k") { 4.times.map { renewed.pop } }).to all(be(true))
      client.close
    end
  end
end
