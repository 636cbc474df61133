# frozen_string_literal: true

require "kitchen/driver/ovirt/progress"

RSpec.describe Kitchen::Driver::Ovirt::Progress do
  def operation(**fields)
    OvirtProvision::V1::Operation.new(state: :STATE_RUNNING, **fields)
  end

  let(:told) { Queue.new }

  it "reminds of what takes long, with what it waits for" do
    described_class.of("<a>", told.method(:push), remind: 0.001) do |progress|
      progress.show(operation(phase: "cloning", progress: "disk a is locked"))
      expect(told.pop).to start_with("<a> cloning... (")
      expect(told.pop).to start_with("<a> still cloning: disk a is locked... (")
    end
  end

  it "tells each phase once, and that the operation is undone" do
    progress = described_class.new("<a>", told.method(:push))
    [operation, operation(phase: "cloning"), operation(phase: "cloning", percent: 20), operation(phase: "booting"),
     operation(phase: "booting", state: :STATE_UNDOING), operation(phase: "booting", state: :STATE_CANCELLED)].each do |snapshot|
      progress.show(snapshot)
    end
    expect(Array.new(told.size) { told.pop[/<a> (.*) \(/, 1] }).to eq(%w[cloning... booting... undoing...])
  end

  it "ends its thread with the block, whatever ends that" do
    before = Thread.list
    expect { described_class.of("<a>", told.method(:push)) { raise Interrupt } }.to raise_error(Interrupt)
    expect(Thread.list - before).to be_empty
  end
end
