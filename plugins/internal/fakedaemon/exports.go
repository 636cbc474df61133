package fakedaemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"google.golang.org/grpc"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// ExportImage implements the schema: what is exported is an image of the source's name.
func (d *Daemon) ExportImage(
	_ context.Context, request *pb.ExportImageRequest,
) (*pb.ExportImageResponse, error) {
	if request.GetValidateOnly() {
		return &pb.ExportImageResponse{}, nil
	}
	content := []byte(strings.Repeat("disk of "+request.GetTemplate().GetId()+request.GetDiskId()+"\n", 100))
	return &pb.ExportImageResponse{Operation: d.begin("ExportImage", request.GetRequestId(), "", func(operation *pb.Operation) {
		digest := sha256.Sum256(content)
		checksum := "sha256:" + hex.EncodeToString(digest[:])
		d.images[checksum] = content
		operation.Result = &pb.Operation_Image{Image: d.whole(checksum)}
	})}, nil
}

// ExportTemplate implements the schema.
func (d *Daemon) ExportTemplate(
	_ context.Context, request *pb.ExportTemplateRequest,
) (*pb.ExportTemplateResponse, error) {
	if request.GetValidateOnly() {
		return &pb.ExportTemplateResponse{}, nil
	}
	return &pb.ExportTemplateResponse{
		Operation: d.begin("ExportTemplate", request.GetRequestId(), "", func(*pb.Operation) {}),
	}, nil
}

// SpoilImages changes the first byte of each image that the daemon has.
func (d *Daemon) SpoilImages() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, content := range d.images {
		content[0]++
	}
}

// DownloadImage implements the schema. Of a Behaviour, Refuse counts: it ends the download after its first chunk.
func (d *Daemon) DownloadImage(
	request *pb.DownloadImageRequest, stream grpc.ServerStreamingServer[pb.DownloadImageResponse],
) error {
	behaviour, refuse := d.record("DownloadImage", request)
	if behaviour.OnCall != nil {
		behaviour.OnCall()
	}
	content := d.Image(request.GetChecksum())[request.GetOffset():]
	if err := stream.Send(&pb.DownloadImageResponse{Image: &pb.Image{Checksum: request.GetChecksum()}}); err != nil {
		return err
	}
	const size = 1 << 10
	for len(content) > 0 {
		n := min(size, len(content))
		if err := stream.Send(&pb.DownloadImageResponse{Chunk: content[:n]}); err != nil {
			return err
		}
		content = content[n:]
		if refuse {
			return behaviour.Refuse
		}
	}
	return nil
}
