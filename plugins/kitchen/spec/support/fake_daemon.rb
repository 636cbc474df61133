# frozen_string_literal: true

require "google/rpc/status_pb"
require "ovirt_provision/client"
require "ovirt_provision/lease"

module Support
  # A daemon that answers as it is told and remembers what it was asked.
  class FakeDaemon
    V1 = OvirtProvision::V1
    ID = "11111111-1111-4111-8111-111111111111"
    TEMPLATE = "33333333-3333-4333-8333-333333333333"

    # The gRPC service `base` whose methods ask the fake.
    def self.service(base)
      Class.new(base) do
        base.rpc_descs.each do |name, description|
          define_method(GRPC::GenericService.underscore(name.to_s)) do |request, _call|
            replies = @fake.answer(name, request)
            description.server_streamer? ? replies.each : replies
          end
        end

        def initialize(fake)
          super()
          @fake = fake
        end
      end
    end

    SERVICES = [V1::MachineService, V1::OperationService, V1::EngineService, V1::TemplateService,
                Grpc::Health::V1::Health]
               .map do |mod|
      service(mod::Service)
    end.freeze

    # Serves on the unix socket `path` while the block runs.
    def self.serve(path)
      fake = new(path)
      fake.start
      yield fake
    ensure
      fake.stop
    end

    # Names of calls and their requests, in order.
    attr_reader :asked

    def initialize(path)
      @path = path
      @asked = []
      @answers = {}
      @lock = Mutex.new
      answer_like_a_daemon
    end

    # What to answer to a call: the block gets the request. It may raise.
    def on(name, &block)
      @answers[name] = block
    end

    def answer(name, request)
      @lock.synchronize { @asked << [name, request] }
      @answers.fetch(name).call(request)
    end

    # The requests of one call.
    def requests(name)
      @lock.synchronize { @asked.filter_map { |asked, request| request if asked == name } }
    end

    def start
      @server = GRPC::RpcServer.new(pool_size: 8, poll_period: 1)
      @server.add_http2_port("unix:#{@path}", :this_port_is_insecure)
      SERVICES.each { |service| @server.handle(service.new(self)) }
      @thread = Thread.new { @server.run }
      @server.wait_till_running
    end

    def stop
      @server.stop
      @thread.join
    end

    def machine(**fields)
      V1::Machine.new(key: "k", id: "22222222-2222-4222-8222-222222222222", name: "vm", status: :STATUS_UP,
                      addresses: [{ ip: "10.11.0.1" }, { ip: "fd00::1" }], **fields)
    end

    def operation(state, revision, **fields)
      V1::Operation.new(id: ID, verb: "CreateMachine", state: state, revision: revision, phase: "booting",
                        **fields)
    end

    def template(**fields)
      V1::Template.new(id: TEMPLATE, name: "debian-12", version: 1, status: :STATUS_OK, **fields)
    end

    # The snapshots of an operation that succeeds.
    def success
      [operation(:STATE_RUNNING, 1), operation(:STATE_RUNNING, 2, machine: machine(addresses: [])),
       operation(:STATE_SUCCEEDED, 3, machine: machine)]
    end

    # Fails a call with the typed error of the bridge.
    def refuse(code, **error)
      detail = Google::Protobuf::Any.pack(V1::Error.new(code: code, **error))
      status = Google::Rpc::Status.new(code: code, message: error[:message], details: [detail])
      raise GRPC::BadStatus.new(code, error[:message].to_s,
                                "grpc-status-details-bin" => Google::Rpc::Status.encode(status))
    end

    private

    def answer_like_a_daemon
      answer_about_machines
      answer_about_templates
      answer_about_engines
    end

    def answer_about_machines
      on(:Check) { Grpc::Health::V1::HealthCheckResponse.new(status: :SERVING) }
      on(:CreateMachine) do |request|
        V1::CreateMachineResponse.new(operation: request.validate_only ? nil : operation(:STATE_RUNNING, 1))
      end
      on(:StartMachine) { V1::StartMachineResponse.new(operation: operation(:STATE_RUNNING, 1)) }
      on(:DestroyMachine) { V1::DestroyMachineResponse.new(operation: operation(:STATE_SUCCEEDED, 1)) }
      on(:WatchOperation) do |request|
        watch(success.select do |snapshot|
                snapshot.revision > request.after_revision
              end)
      end
      on(:CancelOperation) { V1::CancelOperationResponse.new(operation: operation(:STATE_UNDOING, 9)) }
      on(:GetMachine) { V1::GetMachineResponse.new(machine: machine) }
      on(:ConfirmMachine) { V1::ConfirmMachineResponse.new(machine: machine(lease: { kind: :KIND_KEPT })) }
      on(:RenewLease) { V1::RenewLeaseResponse.new(renew_interval: { seconds: 30 }) }
      on(:StopMachine) { V1::StopMachineResponse.new(operation: operation(:STATE_SUCCEEDED, 1)) }
      on(:ListOperations) { V1::ListOperationsResponse.new }
    end

    def answer_about_templates
      on(:ListTemplates) { V1::ListTemplatesResponse.new(templates: [template]) }
      on(:CreateTemplate) do |request|
        made = operation(:STATE_SUCCEEDED, 1, verb: "CreateTemplate", template: template(name: request.name, version: 2))
        V1::CreateTemplateResponse.new(operation: request.validate_only ? nil : made)
      end
    end

    def answer_about_engines
      on(:ListEngines) do
        V1::ListEnginesResponse.new(daemon: { version: "0.1.0", state_folder: "/state", installation: "i" })
      end
      on(:ExamineEngine) do
        V1::ExamineEngineResponse.new(findings: [{ name: "login", severity: :SEVERITY_OK,
                                                   summary: "The log-in works." }])
      end
    end

    public

    # The replies of a watch.
    def watch(snapshots)
      snapshots.map { |snapshot| V1::WatchOperationResponse.new(operation: snapshot) }
    end
  end
end
