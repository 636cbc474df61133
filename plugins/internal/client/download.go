package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// DownloadImage writes an image that the daemon has to a file, from its beginning, and goes on where a stream broke off. onBytes, which
// may be nil, is told how many bytes the file has. What does not have the checksum of the image is an error.
func (c *Client) DownloadImage(ctx context.Context, image *pb.Image, file *os.File, onBytes func(done int64)) error {
	if onBytes == nil {
		onBytes = func(int64) {}
	}
	kind, wanted, _ := strings.Cut(image.GetChecksum(), ":")
	if kind != "sha256" {
		return fmt.Errorf("the daemon names the image by '%s', not by a sha256 checksum", image.GetChecksum())
	}
	digest, done, away := sha256.New(), int64(0), c.newAbsence()
	for {
		before := done
		err := c.receiveImage(ctx, image.GetChecksum(), io.MultiWriter(file, digest), &done, onBytes)
		if err == nil {
			break
		}
		if done > before {
			away.over()
		}
		if err := away.after(ctx, err); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != wanted {
		return fmt.Errorf("the image came with the sha256 checksum %s, not with %s", got, wanted)
	}
	return file.Sync()
}

// receiveImage writes the image from done on, which it moves.
func (c *Client) receiveImage(
	ctx context.Context, checksum string, to io.Writer, done *int64, onBytes func(int64),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Images.DownloadImage(ctx, &pb.DownloadImageRequest{Checksum: checksum, Offset: *done})
	if err != nil {
		return err
	}
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		n, err := to.Write(reply.GetChunk())
		*done += int64(n)
		if err != nil {
			return err
		}
		onBytes(*done)
	}
}
