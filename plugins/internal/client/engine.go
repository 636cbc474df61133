package client

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// engineRef names the engine that calls mean. A named profile stands alone; otherwise, where OVIRT_URL is set, the
// fingerprint of the environment goes along, so that the daemon of another shell refuses (EngineRef in the schema).
func engineRef(profile string, env Environment) (*pb.EngineRef, error) {
	if profile != "" || env("OVIRT_URL") == "" {
		return &pb.EngineRef{Profile: profile}, nil
	}
	fingerprint, err := Fingerprint(env("OVIRT_URL"), env("OVIRT_USERNAME"), expandHome(env("OVIRT_CAFILE"), env))
	if err != nil {
		return nil, err
	}
	return &pb.EngineRef{Fingerprint: fingerprint}, nil
}

// Fingerprint is EngineRef.fingerprint of the schema. caFile is a path, or empty.
func Fingerprint(url, username, caFile string) (string, error) {
	ca := ""
	if caFile != "" {
		content, err := os.ReadFile(caFile)
		if err != nil {
			return "", fmt.Errorf("the CA file named by OVIRT_CAFILE cannot be read: %w", err)
		}
		if len(content) > 0 {
			ca = hexDigest(content)
		}
	}
	return hexDigest([]byte(url + "\n" + username + "\n" + ca)), nil
}

func hexDigest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// engineVariables are the caller's OVIRT_* variables as NAME=value lines, for the standard input of a daemon.
func engineVariables(env Environment) (string, error) {
	var lines strings.Builder
	for _, name := range []string{"OVIRT_URL", "OVIRT_USERNAME", "OVIRT_PASSWORD", "OVIRT_CAFILE"} {
		value := env(name)
		if value == "" {
			continue
		}
		if strings.ContainsAny(value, "\r\n") {
			return "", fmt.Errorf("%s contains a line break", name)
		}
		if name == "OVIRT_CAFILE" {
			// The daemon's working directory is not ours.
			absolute, err := filepath.Abs(expandHome(value, env))
			if err != nil {
				return "", fmt.Errorf("OVIRT_CAFILE: %w", err)
			}
			value = absolute
		}
		fmt.Fprintf(&lines, "%s=%s\n", name, value)
	}
	return lines.String(), nil
}

// expandHome expands a leading ~, as the daemon and its command line do.
func expandHome(path string, env Environment) string {
	if rest, below := strings.CutPrefix(path, "~/"); below && env("HOME") != "" {
		return filepath.Join(env("HOME"), rest)
	}
	return path
}
