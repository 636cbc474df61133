package fakedaemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Image is what the daemon has of an image: all of it, or what has come so far.
func (d *Daemon) Image(checksum string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]byte(nil), d.images[checksum]...)
}

// whole is an image that the daemon has all of; nil where it has not.
func (d *Daemon) whole(checksum string) *pb.Image {
	content := d.images[checksum]
	digest := sha256.Sum256(content)
	if checksum != "sha256:"+hex.EncodeToString(digest[:]) {
		return nil
	}
	return &pb.Image{Checksum: checksum, Format: pb.Image_FORMAT_QCOW2, SizeBytes: int64(len(content))}
}

// GetImage implements the schema.
func (d *Daemon) GetImage(_ context.Context, request *pb.GetImageRequest) (*pb.GetImageResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &pb.GetImageResponse{
		Image: d.whole(request.GetChecksum()), ReceivedBytes: int64(len(d.images[request.GetChecksum()])),
	}, nil
}

// UploadImage implements the schema. Of a Behaviour, Refuse counts: it ends the upload after its first chunk.
func (d *Daemon) UploadImage(stream grpc.ClientStreamingServer[pb.UploadImageRequest, pb.UploadImageResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	header := first.GetHeader()
	behaviour, refuse := d.record("UploadImage", header)
	if behaviour.OnCall != nil {
		behaviour.OnCall()
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = protovalidate.Validate(part)
		}
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.images[header.GetChecksum()] = append(d.images[header.GetChecksum()], part.GetChunk()...)
		d.mu.Unlock()
		if refuse {
			return behaviour.Refuse
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	image := d.whole(header.GetChecksum())
	if image == nil {
		return status.Error(codes.DataLoss, "the checksum is wrong")
	}
	return stream.SendAndClose(&pb.UploadImageResponse{Image: image})
}

// RemoveImage implements the schema.
func (d *Daemon) RemoveImage(
	_ context.Context, request *pb.RemoveImageRequest,
) (*pb.RemoveImageResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.images, request.GetChecksum())
	return &pb.RemoveImageResponse{}, nil
}

// ImportImage implements the schema: with reuse, an image is imported once.
func (d *Daemon) ImportImage(
	_ context.Context, request *pb.ImportImageRequest,
) (*pb.ImportImageResponse, error) {
	d.mu.Lock()
	earlier := d.imports[request.GetChecksum()]
	isThere := request.GetReuse() && (d.templates[earlier] != nil || d.disks[earlier] != nil)
	isMissing := d.whole(request.GetChecksum()) == nil && request.GetUrl() == ""
	d.mu.Unlock()
	switch {
	case request.GetValidateOnly():
		return &pb.ImportImageResponse{Reused: isThere}, nil
	case isMissing && !isThere:
		return nil, status.Error(codes.FailedPrecondition, "the daemon has no such image")
	}
	if running := d.importing(request); running != nil {
		return &pb.ImportImageResponse{Reused: true, Operation: running}, nil
	}
	return &pb.ImportImageResponse{Reused: isThere, Operation: d.begin(
		"ImportImage", request.GetRequestId(), request.GetChecksum(), func(operation *pb.Operation) {
			d.imports[request.GetChecksum()] = ImportedID
			if disk := request.GetDisk(); disk != nil {
				d.disks[ImportedID] = &pb.DiskInfo{Engine: "default", Id: ImportedID, Name: disk.GetName(), Status: "ok", Ours: true}
				operation.Result = &pb.Operation_Disk{Disk: d.disks[ImportedID]}
				return
			}
			d.templates[ImportedID] = &pb.Template{
				Engine: "default", Id: ImportedID, Name: request.GetTemplate().GetName(), Version: 1, Status: pb.Template_STATUS_OK, Ours: true,
			}
			operation.Result = &pb.Operation_Template{Template: d.templates[ImportedID]}
		})}, nil
}

// importing is the import of that image that is under way; nil where there is none.
func (d *Daemon) importing(request *pb.ImportImageRequest) *pb.Operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, run := range d.operations {
		last := run.last()
		if request.GetReuse() && last.Verb == "ImportImage" && last.Key == request.GetChecksum() && last.EndTime == nil {
			return proto.CloneOf(last)
		}
	}
	return nil
}

// halfOfADisk is what the engine gives back: half of the disk was not used.
func halfOfADisk() []*pb.SparsifiedDisk {
	return []*pb.SparsifiedDisk{{Id: DiskID, Name: "disk", BytesBefore: 2 << 30, BytesAfter: 1 << 30}}
}

// SparsifyDisk implements the schema.
func (d *Daemon) SparsifyDisk(
	_ context.Context, request *pb.SparsifyDiskRequest,
) (*pb.SparsifyDiskResponse, error) {
	return &pb.SparsifyDiskResponse{Operation: d.begin(
		"SparsifyDisk", request.GetRequestId(), request.GetMachineKey(), func(operation *pb.Operation) {
			operation.Sparsified = halfOfADisk()
		})}, nil
}
