package fakedaemon

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// GetEngine implements the schema.
func (d *Daemon) GetEngine(context.Context, *pb.GetEngineRequest) (*pb.GetEngineResponse, error) {
	engine := d.engine()
	engine.Version = "4.5.8"
	return &pb.GetEngineResponse{Engine: engine}, nil
}

// ListEngines implements the schema.
func (d *Daemon) ListEngines(context.Context, *pb.ListEnginesRequest) (*pb.ListEnginesResponse, error) {
	return &pb.ListEnginesResponse{
		Engines: []*pb.Engine{d.engine()},
		Daemon:  &pb.Daemon{Version: "0", StateFolder: "/state", Installation: d.Installation},
	}, nil
}

func (d *Daemon) engine() *pb.Engine {
	return &pb.Engine{Profile: "default", Url: d.EngineURL, Username: "admin@internal", IsDefault: true}
}

// CreateMachine implements the schema.
func (d *Daemon) CreateMachine(
	_ context.Context, request *pb.CreateMachineRequest,
) (*pb.CreateMachineResponse, error) {
	if request.GetValidateOnly() {
		return &pb.CreateMachineResponse{Template: d.template(request.GetSpec().GetTemplate())}, nil
	}
	machine := &pb.Machine{
		Key: request.GetKey(), Generation: 1, Engine: "default", Id: MachineID, Name: request.GetSpec().GetName(),
		Status: pb.Machine_STATUS_DOWN, TemplateId: SourceID, Cluster: "Default",
	}
	if machine.Name == "" {
		machine.Name = request.GetKey()
	}
	if request.GetStartWith() != nil {
		machine.Status, machine.Addresses = pb.Machine_STATUS_UP, d.Addresses
	}
	stands := func(operation *pb.Operation) {
		d.machines[request.GetKey()] = machine
		operation.Result = &pb.Operation_Machine{Machine: machine}
	}
	kept := func(operation *pb.Operation) {
		if request.GetOnFailure() == pb.OnFailure_ON_FAILURE_KEEP {
			stands(operation)
		}
	}
	return &pb.CreateMachineResponse{
		Operation: d.begin("CreateMachine", request.GetRequestId(), request.GetKey(), stands, kept),
	}, nil
}

// template is the one that a request names, as far as there is one.
func (d *Daemon) template(named *pb.TemplateRef) *pb.Template {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, template := range d.templates {
		if template.GetId() == named.GetId() || template.GetName() == named.GetName() {
			return proto.CloneOf(template)
		}
	}
	return nil
}

// AdoptMachine implements the schema, for a VM that is down.
func (d *Daemon) AdoptMachine(
	_ context.Context, request *pb.AdoptMachineRequest,
) (*pb.AdoptMachineResponse, error) {
	if request.GetValidateOnly() {
		return &pb.AdoptMachineResponse{}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	machine := &pb.Machine{
		Key: request.GetKey(), Generation: 1, Engine: "default", Id: request.GetVmId(), Name: "theirs",
		Status: pb.Machine_STATUS_DOWN, Cluster: "Default", Adopted: true,
	}
	d.machines[request.GetKey()] = machine
	return &pb.AdoptMachineResponse{Machine: proto.CloneOf(machine)}, nil
}

// StartMachine implements the schema.
func (d *Daemon) StartMachine(
	_ context.Context, request *pb.StartMachineRequest,
) (*pb.StartMachineResponse, error) {
	operation, err := d.power("StartMachine", request.GetRequestId(), request.GetKey(), pb.Machine_STATUS_UP)
	return &pb.StartMachineResponse{Operation: operation}, err
}

// StopMachine implements the schema.
func (d *Daemon) StopMachine(
	_ context.Context, request *pb.StopMachineRequest,
) (*pb.StopMachineResponse, error) {
	operation, err := d.power("StopMachine", request.GetRequestId(), request.GetKey(), pb.Machine_STATUS_DOWN)
	return &pb.StopMachineResponse{Operation: operation}, err
}

// RestartMachine implements the schema.
func (d *Daemon) RestartMachine(
	_ context.Context, request *pb.RestartMachineRequest,
) (*pb.RestartMachineResponse, error) {
	operation, err := d.power("RestartMachine", request.GetRequestId(), request.GetKey(), pb.Machine_STATUS_UP)
	return &pb.RestartMachineResponse{Operation: operation}, err
}

// power begins a verb that ends with a Machine up or down.
func (d *Daemon) power(verb, requestID, key string, then pb.Machine_Status) (*pb.Operation, error) {
	if _, err := d.machine(key); err != nil {
		return nil, err
	}
	return d.begin(verb, requestID, key, func(operation *pb.Operation) {
		changed := proto.CloneOf(d.machines[key])
		changed.Status, changed.Addresses = then, nil
		if then == pb.Machine_STATUS_UP {
			changed.Addresses = d.Addresses
		}
		d.machines[key] = changed
		operation.Result = &pb.Operation_Machine{Machine: changed}
	}), nil
}

// machine finds a Machine.
func (d *Daemon) machine(key string) (*pb.Machine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	machine, known := d.machines[key]
	if !known {
		return nil, status.Error(codes.NotFound, "there is no Machine "+key)
	}
	return machine, nil
}

// ConfirmMachine implements the schema.
func (d *Daemon) ConfirmMachine(
	_ context.Context, request *pb.ConfirmMachineRequest,
) (*pb.ConfirmMachineResponse, error) {
	machine, err := d.machine(request.GetKey())
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	machine.Lease = &pb.Lease{Kind: pb.Lease_KIND_KEPT}
	return &pb.ConfirmMachineResponse{Machine: proto.CloneOf(machine)}, nil
}

// DestroyMachine implements the schema.
func (d *Daemon) DestroyMachine(
	_ context.Context, request *pb.DestroyMachineRequest,
) (*pb.DestroyMachineResponse, error) {
	return &pb.DestroyMachineResponse{Operation: d.begin(
		"DestroyMachine", request.GetRequestId(), request.GetKey(), func(*pb.Operation) {
			delete(d.machines, request.GetKey())
		})}, nil
}

// ListMachines implements the schema: a Machine on each page.
func (d *Daemon) ListMachines(_ context.Context, request *pb.ListMachinesRequest) (*pb.ListMachinesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := slices.Sorted(maps.Keys(d.machines))
	keys = slices.DeleteFunc(keys, func(key string) bool { return key <= request.GetPageToken() })
	reply := &pb.ListMachinesResponse{}
	if len(keys) > 0 {
		reply.Machines = []*pb.Machine{d.machines[keys[0]]}
	}
	if len(keys) > 1 {
		reply.NextPageToken = keys[0]
	}
	return reply, nil
}

// GetMachine implements the schema.
func (d *Daemon) GetMachine(_ context.Context, request *pb.GetMachineRequest) (*pb.GetMachineResponse, error) {
	machine, err := d.machine(request.GetKey())
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return &pb.GetMachineResponse{Machine: proto.CloneOf(machine)}, nil
}

// RenewLease implements the schema.
func (d *Daemon) RenewLease(context.Context, *pb.RenewLeaseRequest) (*pb.RenewLeaseResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaseError != nil {
		return nil, d.leaseError
	}
	return &pb.RenewLeaseResponse{
		Lease:         &pb.Lease{Kind: pb.Lease_KIND_SESSION},
		RenewInterval: durationpb.New(d.lease),
	}, nil
}

// CreateTemplate implements the schema.
func (d *Daemon) CreateTemplate(
	_ context.Context, request *pb.CreateTemplateRequest,
) (*pb.CreateTemplateResponse, error) {
	template, err := d.newTemplate(request)
	if err != nil || request.GetValidateOnly() {
		return &pb.CreateTemplateResponse{}, err
	}
	return &pb.CreateTemplateResponse{Operation: d.begin(
		"CreateTemplate", request.GetRequestId(), request.GetMachineKey(), func(operation *pb.Operation) {
			if request.GetReplace() {
				maps.DeleteFunc(d.templates, func(_ string, other *pb.Template) bool { return other.Name == template.Name })
			}
			d.templates[template.Id] = template
			operation.Result = &pb.Operation_Template{Template: template}
			if request.GetSparsify() {
				operation.Sparsified = halfOfADisk()
			}
		})}, nil
}

// newTemplate is the template that a request asks for; the name of another is an error unless it may be there.
func (d *Daemon) newTemplate(request *pb.CreateTemplateRequest) (*pb.Template, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	version := int32(1)
	for _, other := range d.templates {
		if other.Name != request.GetName() {
			continue
		}
		if !request.GetNewVersion() && !request.GetReplace() {
			return nil, status.Errorf(codes.AlreadyExists, "the name '%s' is in use by template %s", other.Name, other.Id)
		}
		if request.GetNewVersion() {
			version = max(version, other.Version+1)
		}
	}
	return &pb.Template{
		Engine: "default", Id: TemplateID, Name: request.GetName(), Version: version, Status: pb.Template_STATUS_OK,
		Description: request.GetDescription(), Ours: true,
	}, nil
}

// DetachDisk implements the schema.
func (d *Daemon) DetachDisk(_ context.Context, request *pb.DetachDiskRequest) (*pb.DetachDiskResponse, error) {
	if request.GetValidateOnly() {
		return &pb.DetachDiskResponse{}, nil
	}
	disk := &pb.DiskInfo{Engine: "default", Id: DiskID, Name: request.GetName(), Status: "ok", Ours: true}
	return &pb.DetachDiskResponse{Operation: d.begin(
		"DetachDisk", request.GetRequestId(), request.GetMachineKey(), func(operation *pb.Operation) {
			delete(d.machines, request.GetMachineKey())
			d.disks[disk.Id] = disk
			operation.Result = &pb.Operation_Disk{Disk: disk}
		})}, nil
}

// DestroyDisk implements the schema.
func (d *Daemon) DestroyDisk(_ context.Context, request *pb.DestroyDiskRequest) (*pb.DestroyDiskResponse, error) {
	return &pb.DestroyDiskResponse{Operation: d.begin(
		"DestroyDisk", request.GetRequestId(), "", func(*pb.Operation) { delete(d.disks, request.GetId()) })}, nil
}

// DestroyTemplate implements the schema.
func (d *Daemon) DestroyTemplate(
	_ context.Context, request *pb.DestroyTemplateRequest,
) (*pb.DestroyTemplateResponse, error) {
	return &pb.DestroyTemplateResponse{Operation: d.begin(
		"DestroyTemplate", request.GetRequestId(), "", func(*pb.Operation) {
			delete(d.templates, request.GetId())
		})}, nil
}

// GetTemplate implements the schema.
func (d *Daemon) GetTemplate(
	_ context.Context, request *pb.GetTemplateRequest,
) (*pb.GetTemplateResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	template, known := d.templates[request.GetId()]
	if !known {
		return nil, status.Error(codes.NotFound, "the engine has no template with the id "+request.GetId())
	}
	template = proto.CloneOf(template)
	template.Status = d.TemplateStatus
	return &pb.GetTemplateResponse{Template: template}, nil
}

// ListTemplates implements the schema.
func (d *Daemon) ListTemplates(
	_ context.Context, request *pb.ListTemplatesRequest,
) (*pb.ListTemplatesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	reply := &pb.ListTemplatesResponse{}
	for _, template := range d.templates {
		if request.GetName() == "" || template.GetName() == request.GetName() {
			reply.Templates = append(reply.Templates, template)
		}
	}
	return reply, nil
}
