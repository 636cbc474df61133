package fakedaemon

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// GetEngine implements the schema.
func (d *Daemon) GetEngine(context.Context, *pb.GetEngineRequest) (*pb.GetEngineResponse, error) {
	return &pb.GetEngineResponse{Engine: &pb.Engine{
		Profile: "default", Url: "https://engine.example.com/ovirt-engine/api", Username: "admin@internal",
		IsDefault: true, Version: "4.5.8",
	}}, nil
}

// CreateMachine implements the schema.
func (d *Daemon) CreateMachine(
	_ context.Context, request *pb.CreateMachineRequest,
) (*pb.CreateMachineResponse, error) {
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
	return &pb.CreateMachineResponse{Operation: d.begin(
		"CreateMachine", request.GetRequestId(), request.GetKey(), func(operation *pb.Operation) {
			d.machines[request.GetKey()] = machine
			operation.Result = &pb.Operation_Machine{Machine: machine}
		})}, nil
}

// StopMachine implements the schema.
func (d *Daemon) StopMachine(
	_ context.Context, request *pb.StopMachineRequest,
) (*pb.StopMachineResponse, error) {
	return &pb.StopMachineResponse{Operation: d.begin(
		"StopMachine", request.GetRequestId(), request.GetKey(), func(operation *pb.Operation) {
			stopped := proto.CloneOf(d.machines[request.GetKey()])
			stopped.Status, stopped.Addresses = pb.Machine_STATUS_DOWN, nil
			d.machines[request.GetKey()] = stopped
			operation.Result = &pb.Operation_Machine{Machine: stopped}
		})}, nil
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

// GetMachine implements the schema.
func (d *Daemon) GetMachine(_ context.Context, request *pb.GetMachineRequest) (*pb.GetMachineResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	machine, known := d.machines[request.GetKey()]
	if !known {
		return nil, status.Error(codes.NotFound, "there is no Machine "+request.GetKey())
	}
	return &pb.GetMachineResponse{Machine: machine}, nil
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
	template := &pb.Template{
		Engine: "default", Id: TemplateID, Name: request.GetName(), Version: 1, Status: pb.Template_STATUS_OK,
		Description: request.GetDescription(), Ours: true,
	}
	return &pb.CreateTemplateResponse{Operation: d.begin(
		"CreateTemplate", request.GetRequestId(), request.GetMachineKey(), func(operation *pb.Operation) {
			d.templates[template.Id] = template
			operation.Result = &pb.Operation_Template{Template: template}
		})}, nil
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
