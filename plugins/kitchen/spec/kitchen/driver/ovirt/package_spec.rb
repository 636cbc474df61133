# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt, "#package" do
  include_context "with a driver"

  it "packages nothing that is not there" do
    expect { driver.package(state) }.to raise_error(Kitchen::UserError, /not created.*kitchen create/)
    expect(fake.asked).to be_empty
  end

  describe "of an instance" do
    before { driver.create(state) }

    def calls
      fake.asked.map(&:first) & %i[StopMachine CreateTemplate StartMachine]
    end

    it "seals the instance, down, into the next version of the template, and has it run again" do
      driver.package(state)
      expect(calls).to eq(%i[CreateTemplate StopMachine StartMachine])
      made = { machine_key: state[:machine_key], name: "web-debian-12", new_version: true, seal: true }
      expect(fake.requests(:CreateTemplate).map(&:to_h))
        .to match([include(**made, validate_only: true), include(**made, validate_only: false)])
      expect(console).to include("is packaged as template web-debian-12 version 2 (#{Support::FakeDaemon::TEMPLATE})")
    end

    it "makes the template that is not there" do
      fake.on(:ListTemplates) { OvirtProvision::V1::ListTemplatesResponse.new }
      make_driver({ package: { version_name: "v", keep_versions: 2 } }).package(state)
      expect(fake.requests(:CreateTemplate).map { |request| [request.new_version, request.version_name, request.keep_versions] })
        .to eq([[false, "", 0]] * 2)
    end

    it "leaves an instance down that was" do
      fake.on(:GetMachine) { OvirtProvision::V1::GetMachineResponse.new(machine: fake.machine(status: :STATUS_DOWN)) }
      driver.package(state)
      expect(calls).to eq(%i[CreateTemplate])
    end

    it "replaces a template where it is told to" do
      make_driver({ package: { replace: true } }).package(state)
      expect(fake.requests(:CreateTemplate).map { |request| [request.new_version, request.replace] }).to eq([[false, true]] * 2)
    end

    it "tells what is wrong by the option, before it stops the instance" do
      fake.on(:CreateTemplate) do
        fake.refuse(code(:INVALID_ARGUMENT), message: "no", violations: [{ field: "version_name", description: "too long" }])
      end
      expect { driver.package(state) }.to raise_error(Kitchen::UserError, /package\.version_name: too long/)
      expect(calls).to eq(%i[CreateTemplate])
    end

    it "has the instance run again when it fails, and tells warnings" do
      fake.on(:CreateTemplate) do |request|
        failed = fake.operation(:STATE_FAILED, 1, error: { code: 9, message: "the disk is full" })
        OvirtProvision::V1::CreateTemplateResponse.new(operation: request.validate_only ? nil : failed)
      end
      expect { driver.package(state) }.to raise_error(Kitchen::ActionFailed, /the disk is full/)
      expect(calls.last).to eq(:StartMachine)
    end

    it "tells what did not go as asked" do
      fake.on(:CreateTemplate) do |request|
        made = fake.operation(:STATE_SUCCEEDED, 1, template: fake.template, warnings: ["version 1 is in use and stays"])
        OvirtProvision::V1::CreateTemplateResponse.new(operation: request.validate_only ? nil : made)
      end
      driver.package(state)
      expect(console).to include("version 1 is in use and stays")
    end

    it "writes down the address that the instance has afterwards" do
      fake.on(:WatchOperation) do
        fake.watch([fake.operation(:STATE_SUCCEEDED, 3, machine: fake.machine(addresses: [{ ip: "10.11.0.99" }]))])
      end
      driver.package(state)
      expect(saved).to include(hostname: "10.11.0.99")
    end
  end
end
