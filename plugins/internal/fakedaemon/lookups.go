package fakedaemon

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// FindTemplate implements the schema: one of the templates that were made, and else the source of all.
func (d *Daemon) FindTemplate(
	_ context.Context, request *pb.FindTemplateRequest,
) (*pb.FindTemplateResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, template := range d.templates {
		if template.GetName() == request.GetName() {
			return &pb.FindTemplateResponse{Template: proto.CloneOf(template)}, nil
		}
	}
	return &pb.FindTemplateResponse{Template: &pb.Template{
		Engine: "default", Id: SourceID, Name: "debian-12", Version: 3, VersionName: "monthly", Status: pb.Template_STATUS_OK,
		Description: "Debian 12", CreateTime: &timestamppb.Timestamp{Seconds: 1_767_225_600}, Tags: []string{"approved"},
		Disks: []*pb.DiskInfo{{Id: DiskID}}, Os: "debian_12x64", Cluster: "Default",
	}}, nil
}

// FindDisk implements the schema: an ISO image that was always there.
func (d *Daemon) FindDisk(context.Context, *pb.FindDiskRequest) (*pb.FindDiskResponse, error) {
	return &pb.FindDiskResponse{Disk: &pb.DiskInfo{
		Engine: "default", Id: DiskID, Name: "virtio-win.iso", Description: "Drivers", SizeBytes: 5 << 30, Status: "ok", Format: "raw",
		ContentType: "iso", StorageDomains: []string{"data"},
	}}, nil
}

// FindNetwork implements the schema.
func (d *Daemon) FindNetwork(_ context.Context, request *pb.FindNetworkRequest) (*pb.FindNetworkResponse, error) {
	if request.GetName() != "" && request.GetName() != "ovirtmgmt" {
		return nil, status.Error(codes.NotFound, "no network '"+request.GetName()+"'")
	}
	return &pb.FindNetworkResponse{Network: &pb.Network{
		Engine: "default", Id: NetworkID, Name: "ovirtmgmt", Description: "Management",
		DataCenter: "Default", VlanId: 12, Mtu: 9000, VnicProfiles: []string{"ovirtmgmt", "limited"},
	}}, nil
}
