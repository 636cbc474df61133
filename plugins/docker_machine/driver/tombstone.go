package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// TombstonesVariable names the folder of tombstones; otherwise they are in the daemon's state folder.
const TombstonesVariable = "OVIRT_PROVISION_TOMBSTONES"

const (
	tombstoneVersion = 1
	// sendTimeout bounds how long the plugin of another host is kept busy with tombstones.
	sendTimeout = 10 * time.Second
)

// tombstone stands for a Machine that is to be destroyed, in a file, until the daemon has taken that over. `rm -f` forgets
// a host whose removal failed; with the tombstone somebody still knows. The daemon reads these files, too. No field is a secret.
type tombstone struct {
	Version      int    `json:"version"`
	Machine      string `json:"machine"`
	Key          string `json:"key"`
	Engine       string `json:"engine"`
	EngineURL    string `json:"engine_url"`
	Installation string `json:"installation"`
	// RequestID makes one destroy of however many are sent.
	RequestID string `json:"request_id"`
	// Config is the host's config.json. While it holds the key, the host is not forgotten, and nothing is destroyed
	// behind its back.
	Config string `json:"config"`

	file string
}

// tombstoneFolder is where tombstones are.
func tombstoneFolder() (string, error) {
	if folder := os.Getenv(TombstonesVariable); folder != "" {
		if !filepath.IsAbs(folder) {
			return "", fmt.Errorf("%s is '%s', but must be an absolute path", TombstonesVariable, folder)
		}
		return folder, nil
	}
	state, err := client.StateFolder(os.Getenv)
	if err != nil {
		return "", fmt.Errorf("%w, or %s to a folder that lasts", err, TombstonesVariable)
	}
	return filepath.Join(state, "tombstones"), nil
}

// setTombstone writes the tombstone of this host, such that a crash leaves all of it or nothing. The tombstone is never
// nil; with an error it has no file.
func (d *Driver) setTombstone() (*tombstone, error) {
	t := &tombstone{
		Version: tombstoneVersion, Machine: d.MachineName, Key: d.Key, Engine: d.Options.Engine, EngineURL: d.EngineURL,
		Installation: d.Installation, RequestID: d.newID(), Config: d.inStore("config.json"),
	}
	folder, err := tombstoneFolder()
	if err != nil {
		return t, err
	}
	content, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return t, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return t, err
	}
	file := filepath.Join(folder, url.PathEscape(d.Key)+".json")
	if err := writeWhole(file, append(content, '\n')); err != nil {
		return t, err
	}
	t.file = file
	return t, nil
}

// writeWhole writes a file for its owner alone, in place of what may be there, such that a crash leaves all of it or nothing.
func writeWhole(file string, content []byte) error {
	partial, err := os.CreateTemp(filepath.Dir(file), ".partial-")
	if err != nil {
		return err
	}
	defer os.Remove(partial.Name())
	_, err = partial.Write(content)
	if err := errors.Join(err, partial.Sync(), partial.Close()); err != nil {
		return err
	}
	if err := os.Rename(partial.Name(), file); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file))
}

func syncFolder(folder string) error {
	opened, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Sync()
}

// clear removes the tombstone, which is no longer needed. One that stays is harmless: it asks once more for the same.
func (t *tombstone) clear() {
	if t.file == "" {
		return
	}
	if err := os.Remove(t.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Printf("the tombstone %s stays: %s", t.file, err)
		return
	}
	t.file = ""
}

// forgotten says whether docker-machine no longer knows the host.
func (t *tombstone) forgotten() bool {
	config, err := os.ReadFile(t.Config)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return !bytes.Contains(config, []byte(t.Key))
}

// SendTombstones hands to the daemon what forgotten hosts have left to be destroyed. What cannot be handed over stays for the
// next start of a plugin or of a daemon.
func SendTombstones(ctx context.Context) {
	folder, err := tombstoneFolder()
	if err != nil {
		return
	}
	files, _ := filepath.Glob(filepath.Join(folder, "*.json"))
	if len(files) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	for _, file := range files {
		t, err := readTombstone(file)
		if err == nil && t.forgotten() {
			err = t.send(ctx)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Printf("the tombstone %s waits: %s", file, err)
		}
	}
}

func readTombstone(file string) (*tombstone, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("it is no file of its owner alone (%s)", info.Mode())
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t := &tombstone{file: file}
	if err := json.Unmarshal(content, t); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if t.Version != tombstoneVersion || t.Key == "" || t.RequestID == "" {
		return nil, fmt.Errorf("its version is %d, and this plugin knows version %d", t.Version, tombstoneVersion)
	}
	return t, nil
}

// send has the daemon accept the destroy, and does not wait for its end.
func (t *tombstone) send(ctx context.Context) error {
	d := New(io.Discard)
	d.MachineName, d.Key, d.EngineURL, d.Installation, d.Options.Engine = t.Machine, t.Key, t.EngineURL, t.Installation, t.Engine
	daemon, err := d.connectToLook(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	if _, err := t.destroy(ctx, daemon); err != nil {
		return err
	}
	log.Printf("host %s was forgotten; its VM is being destroyed", t.Machine)
	return nil
}

// destroy asks for the destroy; once the daemon has accepted it, the tombstone is gone.
func (t *tombstone) destroy(ctx context.Context, daemon *client.Client) (*pb.Operation, error) {
	reply, err := daemon.Machines.DestroyMachine(ctx, &pb.DestroyMachineRequest{
		Engine: daemon.Engine, RequestId: t.RequestID, Key: t.Key,
	})
	if err != nil {
		return nil, err
	}
	t.clear()
	return reply.GetOperation(), nil
}
