package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// HashiCorp's own check of what a plugin describes itself as.
func TestPluginCheck(t *testing.T) {
	found, err := exec.Command("go", "tool", "-n", "packer-sdc").Output()
	if err != nil {
		t.Fatal(err)
	}
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Symlink(itself, filepath.Join(folder, "packer-plugin-ovirt")); err != nil {
		t.Fatal(err)
	}
	check := exec.Command(strings.TrimSpace(string(found)), "plugin-check", "packer-plugin-ovirt")
	check.Dir = folder
	if said, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
