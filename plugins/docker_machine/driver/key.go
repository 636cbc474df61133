package driver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// defaultKeyType is one that every host can use: the RSA signatures of docker-machine's own SSH client are refused by the
// SSH servers of today.
const defaultKeyType = "ed25519"

// keyTypes make a key of a type.
var keyTypes = map[string]func() (crypto.PrivateKey, error){
	defaultKeyType: func() (crypto.PrivateKey, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	},
	"ecdsa": func() (crypto.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
}

func (d *Driver) keyType() string {
	if d.Options.SSHKeyType == "" {
		return defaultKeyType
	}
	return d.Options.SSHKeyType
}

// keyFile is the name of the file of the private key in the host's folder.
func (d *Driver) keyFile() string {
	if d.Options.SSHKeyFile != "" {
		return "id_key"
	}
	return "id_" + filepath.Base(d.keyType())
}

// keyProblems are what is wrong with the flags for the key.
func (d *Driver) keyProblems() []error {
	chosen := &d.Options
	var problems []error
	if chosen.SSHKeyType != "" && chosen.SSHKeyFile != "" {
		problems = append(problems, problem(flagSSHKeyType, "'%s' is the type of a key to be generated, and --%s names one that exists (%s); give one of them",
			chosen.SSHKeyType, flagSSHKey, chosen.SSHKeyFile))
	}
	if keyTypes[d.keyType()] == nil {
		problems = append(problems, problem(flagSSHKeyType, "'%s' is no type of key that is generated; there are ed25519 and ecdsa", chosen.SSHKeyType))
	}
	switch {
	case chosen.SSHKeyFile != "":
		if _, _, err := readKey(chosen.SSHKeyFile); err != nil {
			problems = append(problems, problem(flagSSHKey, "%s", err))
		}
	case chosen.Adopt != "":
		problems = append(problems, problem(flagSSHKey, "is required with --%s: into a VM that is never changed nobody puts a new key", flagAdopt))
	}
	return problems
}

// placeKey puts the private key into the host's folder, and returns the public half as a line of authorized_keys.
func (d *Driver) placeKey() (string, error) {
	content, public, err := readOrMakeKey(d.Options.SSHKeyFile, d.keyType(), d.Key)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " " + d.Key
	if err := os.MkdirAll(filepath.Dir(d.SSHKeyPath), 0o700); err != nil {
		return "", fmt.Errorf("the SSH key cannot be kept: %w", err)
	}
	if err := writeWhole(d.SSHKeyPath, content); err != nil {
		return "", fmt.Errorf("the SSH key cannot be kept: %w", err)
	}
	if err := os.WriteFile(d.SSHKeyPath+".pub", []byte(line+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("the SSH key cannot be kept: %w", err)
	}
	return line, nil
}

func readOrMakeKey(file, kind, comment string) ([]byte, ssh.PublicKey, error) {
	if file != "" {
		return readKey(file)
	}
	private, err := keyTypes[kind]()
	if err != nil {
		return nil, nil, fmt.Errorf("no SSH key can be made: %w", err)
	}
	// Without passphrase, as docker-machine needs it.
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return nil, nil, fmt.Errorf("no SSH key can be made: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("no SSH key can be made: %w", err)
	}
	return pem.EncodeToMemory(block), signer.PublicKey(), nil
}

// readKey reads the file of a private key. The error holds nothing of it.
func readKey(file string) ([]byte, ssh.PublicKey, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("the file cannot be read: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(content)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, nil, fmt.Errorf("%s has a passphrase, which docker-machine cannot give", file)
	case err != nil:
		return nil, nil, fmt.Errorf("%s is no private key in PEM or OpenSSH format", file)
	}
	return content, signer.PublicKey(), nil
}

// authorizedKeys are further public keys, each a line in OpenSSH format.
func authorizedKeys(given []string) (keys []string, problems []error) {
	for i, text := range given {
		line := strings.TrimSpace(text)
		_, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		switch {
		case strings.Contains(line, "PRIVATE KEY"):
			problems = append(problems, problem(flagAuthorizedKey, "number %d is a private key; give the public one", i+1))
		case err != nil || strings.ContainsAny(line, "\r\n"):
			problems = append(problems, problem(flagAuthorizedKey, "'%.40s' is no public key in OpenSSH format, such as a line of id_ed25519.pub", line))
		default:
			keys = append(keys, line)
		}
	}
	return keys, problems
}
