package client

import (
	"os"
	"path/filepath"
	"testing"
)

const engineURL = "https://engine.example.com/ovirt-engine/api"

func TestEngineRef(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "ca.pem"), []byte("certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "empty.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// By printf '<url>\n<user>\n<hash of the CA>' | sha256sum.
	const withoutCA = "9631d5ed54fe8a3567cdad7d120a8019a59f5133aa373a8b7c60c1cd9b0e8d46"
	const withCA = "66053f65b38a0f245b9abbd423af2bd1e49ee8eaf629d0d194b3ff6e2ddd4e06"
	variables := func(caFile string) map[string]string {
		return map[string]string{"OVIRT_URL": engineURL, "OVIRT_USERNAME": "admin@internal", "OVIRT_CAFILE": caFile, "HOME": home}
	}
	for _, test := range []struct {
		name, profile string
		env           map[string]string
		fingerprint   string
	}{
		{"no engine in the environment", "", map[string]string{"OVIRT_USERNAME": "admin@internal"}, ""},
		{"an engine in the environment", "", variables(""), withoutCA},
		{"its CA counts", "", variables(filepath.Join(home, "ca.pem")), withCA},
		{"its CA in the home folder", "", variables("~/ca.pem"), withCA},
		{"an empty CA file is none", "", variables(filepath.Join(home, "empty.pem")), withoutCA},
		{"a profile stands alone", "production", variables(""), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ref, err := engineRef(test.profile, environment(test.env))
			if err != nil || ref.GetFingerprint() != test.fingerprint || ref.GetProfile() != test.profile {
				t.Errorf("got %v, %v; want profile %q and fingerprint %q", ref, err, test.profile, test.fingerprint)
			}
		})
	}
	_, err := engineRef("", environment(variables("/nowhere/ca.pem")))
	mustSay(t, err, "OVIRT_CAFILE", "/nowhere/ca.pem")
}

func TestEngineVariables(t *testing.T) {
	t.Chdir(t.TempDir())
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := engineVariables(environment(map[string]string{
		"OVIRT_URL": engineURL, "OVIRT_PASSWORD": "a=b c", "OVIRT_CAFILE": "ca.pem", "OTHER": "x",
	}))
	want := "OVIRT_URL=" + engineURL + "\nOVIRT_PASSWORD=a=b c\nOVIRT_CAFILE=" + filepath.Join(folder, "ca.pem") + "\n"
	if err != nil || lines != want {
		t.Errorf("got %q, %v; want %q", lines, err, want)
	}
	_, err = engineVariables(environment(map[string]string{"OVIRT_PASSWORD": "two\nlines"}))
	mustSay(t, err, "OVIRT_PASSWORD contains a line break")
}
