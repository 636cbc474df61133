# frozen_string_literal: true

RSpec.describe OvirtProvision::Lease do
  include_context "with a fake daemon"

  it "is renewed on, whatever a renewal fails of that does not end it" do
    renewed = Queue.new
    fake.on(:RenewLease) do
      renewed.push(true)
      fake.refuse(code(:INTERNAL), message: "a defect") if fake.requests(:RenewLease).size == 2

      OvirtProvision::V1::RenewLeaseResponse.new(renew_interval: { nanos: 4_000_000 })
    end
    client = OvirtProvision::Client.new(user_agent: "spec")
    expect(described_class.keep(client, "k") { 4.times.map { renewed.pop } }).to all(be(true))
    client.close
  end
end
