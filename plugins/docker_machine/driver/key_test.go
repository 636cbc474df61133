package driver

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// lockedKey is a private key with a passphrase, made for these tests by ssh-keygen.
const lockedKey = `-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABDMBJP8/a
JMDJL5/vOm5EcKAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIHxrOoHAO7h6il/L
kgOA4ksEmf5WJZEKp7Ect6fLk/XBAAAAkCVdSTTqphkF4UcoYEMT1UuYjbgzq/IBp6aKD1
4GPOQWGMWh5/PwMndKbkifNd87pfQMK3DLiBEBieVcQtdrXR/RcLbTJYVe1Rdx5KOmP4j1
ce41rvcyNVnYS/ojTHfzhW8tSjPv0aTyrkGBiBCd2kc9HxfMx9fMg2RC1oOWbfpKLMzfDY
3oywEcdT1uq3Ns+g==
-----END OPENSSH PRIVATE KEY-----`

func privateKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func privateKeyFile(t *testing.T) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(privateKey(t), "mine")
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "id_mine", string(pem.EncodeToMemory(block)))
}

func publicKeyLine(t *testing.T) string {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(privateKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// An existing key is copied, so that the host's folder is all that has to be kept, and its file may go.
func TestAnExistingKey(t *testing.T) {
	h := newTestHost(t)
	file := privateKeyFile(t)
	h.choose(t, map[string]any{flagSSHKey: file})
	if err := h.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	original, _ := os.ReadFile(file)
	copied, err := os.ReadFile(h.GetSSHKeyPath())
	if err != nil || string(copied) != string(original) || h.GetSSHKeyPath() == file {
		t.Errorf("key at %s: %v", h.GetSSHKeyPath(), err)
	}
	if info, err := os.Stat(h.GetSSHKeyPath()); err != nil || info.Mode() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	signer, err := ssh.ParsePrivateKey(original)
	if err != nil || !strings.Contains(h.daemon.Calls()[0], strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))) {
		t.Errorf("the guest does not get the key: %v", err)
	}
}

// What a create that was killed has left in the key's place is replaced, and nobody else can read the new one.
func TestTheKeyIsItsOwnersAlone(t *testing.T) {
	h := newTestHost(t)
	if err := os.MkdirAll(filepath.Dir(h.GetSSHKeyPath()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.GetSSHKeyPath(), []byte("half a k"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := h.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(h.GetSSHKeyPath()); err != nil || info.Mode() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(h.GetSSHKeyPath())); len(left) != 2 {
		t.Errorf("the host's folder holds %v", left)
	}
}
