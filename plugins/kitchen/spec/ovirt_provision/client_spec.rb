# frozen_string_literal: true

RSpec.describe OvirtProvision::Client do
  include_context "with a fake daemon"

  it "does not wait without end for an answer, and names what it waited for" do
    answer = Queue.new
    fake.on(:ListEngines) { answer.pop && OvirtProvision::V1::ListEnginesResponse.new }
    client = described_class.new(user_agent: "spec", timeouts: { call: 0.05 })
    expect { client.call(:engines, :list_engines, OvirtProvision::V1::ListEnginesRequest.new) }.to raise_error(
      OvirtProvision::Unreachable, "the daemon at #{client.address} has not answered list_engines within 0.05 s (time-out `call`)"
    )
    answer.push(true)
    client.close
  end
end
