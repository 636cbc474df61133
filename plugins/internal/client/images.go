package client

import (
	"context"
	"errors"
	"io"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// longestChunk is how many bytes of an image go into one message, as the schema bounds them.
const longestChunk = 1 << 20

// UploadImage sends a file to the daemon, which does not take what it has already, and goes on where a stream broke off. onBytes,
// which may be nil, is told how many bytes of the file the daemon has. The file is read from any position.
func (c *Client) UploadImage(
	ctx context.Context, file io.ReadSeeker, checksum string, size int64, onBytes func(done int64),
) (*pb.Image, error) {
	if onBytes == nil {
		onBytes = func(int64) {}
	}
	away, received := c.newAbsence(), int64(0)
	for {
		known, err := c.Images.GetImage(ctx, &pb.GetImageRequest{Checksum: checksum})
		if err != nil {
			return nil, err
		}
		if known.GetImage() != nil {
			onBytes(size)
			return known.GetImage(), nil
		}
		if known.GetReceivedBytes() > received {
			received = known.GetReceivedBytes()
			away.over()
		}
		image, err := c.sendImage(ctx, file, &pb.UploadImageRequest_Header{
			Checksum: checksum, SizeBytes: size, Offset: known.GetReceivedBytes(),
		}, onBytes)
		if err == nil {
			return image, nil
		}
		if err := away.after(ctx, err); err != nil {
			return nil, err
		}
	}
}

// sendImage sends the file from the header's offset on.
func (c *Client) sendImage(
	ctx context.Context, file io.ReadSeeker, header *pb.UploadImageRequest_Header, onBytes func(int64),
) (*pb.Image, error) {
	done, err := file.Seek(header.GetOffset(), io.SeekStart)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Images.UploadImage(ctx)
	if err != nil {
		return nil, err
	}
	send := func(request *pb.UploadImageRequest) (isOpen bool, err error) {
		// The end of the stream is the daemon's answer, be it an image that it has or an error: CloseAndRecv tells.
		err = stream.Send(request)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return true, err
	}
	isOpen, err := send(&pb.UploadImageRequest{Part: &pb.UploadImageRequest_Header_{Header: header}})
	chunk := make([]byte, longestChunk)
	for isOpen && err == nil {
		n, readErr := io.ReadFull(file, chunk)
		if n > 0 {
			if isOpen, err = send(&pb.UploadImageRequest{Part: &pb.UploadImageRequest_Chunk{Chunk: chunk[:n]}}); err != nil {
				break
			}
			done += int64(n)
			onBytes(done)
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		err = readErr
	}
	if err != nil {
		return nil, err
	}
	reply, err := stream.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	return reply.GetImage(), nil
}
