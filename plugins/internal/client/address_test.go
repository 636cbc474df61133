package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func environment(variables map[string]string) Environment {
	return func(name string) string { return variables[name] }
}

func TestResolveAddress(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		want Address
	}{
		{
			"a named socket",
			map[string]string{"OVIRT_PROVISION_ADDRESS": "unix:/run/d.sock", "XDG_RUNTIME_DIR": "/run/user/1"},
			Address{Target: "unix:/run/d.sock", Socket: "/run/d.sock", Explicit: true},
		},
		{
			"a named socket with an authority",
			map[string]string{"OVIRT_PROVISION_ADDRESS": "unix:///run/d.sock"},
			Address{Target: "unix:/run/d.sock", Socket: "/run/d.sock", Explicit: true},
		},
		{
			"a host",
			map[string]string{"OVIRT_PROVISION_ADDRESS": "daemon.example.com:7443"},
			Address{Target: "passthrough:///daemon.example.com:7443", Explicit: true},
		},
		{
			"loopback of IPv6",
			map[string]string{"OVIRT_PROVISION_ADDRESS": "[::1]:4711"},
			Address{Target: "passthrough:///[::1]:4711", Explicit: true},
		},
		{
			"the runtime folder",
			map[string]string{"XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/home/a"},
			Address{Target: "unix:/run/user/1/ovirt-provision/daemon.sock", Socket: "/run/user/1/ovirt-provision/daemon.sock"},
		},
		{
			"a relative runtime folder is ignored",
			map[string]string{"XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "/state"},
			Address{Target: "unix:/state/ovirt-provision/run/daemon.sock", Socket: "/state/ovirt-provision/run/daemon.sock"},
		},
		{
			"the state folder",
			map[string]string{"HOME": "/home/a"},
			Address{
				Target: "unix:/home/a/.local/state/ovirt-provision/run/daemon.sock",
				Socket: "/home/a/.local/state/ovirt-provision/run/daemon.sock",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ResolveAddress(environment(test.env))
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestResolveAddressRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		says []string
	}{
		{"a relative socket", map[string]string{"OVIRT_PROVISION_ADDRESS": "unix:d.sock"}, []string{"unix:d.sock", "absolute"}},
		{"a bare name", map[string]string{"OVIRT_PROVISION_ADDRESS": "localhost"}, []string{"'localhost'", "unix:/path or host:port"}},
		{"a port without a host", map[string]string{"OVIRT_PROVISION_ADDRESS": ":4711"}, []string{"':4711'", "unix:/path or host:port"}},
		{
			"a socket path that is too long",
			map[string]string{"XDG_RUNTIME_DIR": "/" + strings.Repeat("x", 79)},
			[]string{"108 bytes", "at most 107", "XDG_RUNTIME_DIR"},
		},
		{"no home", map[string]string{}, []string{"HOME", "OVIRT_PROVISION_ADDRESS"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ResolveAddress(environment(test.env))
			mustSay(t, err, test.says...)
		})
	}
	if _, err := ResolveAddress(environment(map[string]string{"XDG_RUNTIME_DIR": "/" + strings.Repeat("x", 78)})); err != nil {
		t.Errorf("a path of 107 bytes: %v", err)
	}
}

func TestCheckPrivate(t *testing.T) {
	folder := t.TempDir()
	for _, test := range []struct {
		name string
		make func(path string) error
		says string
	}{
		{"open to others", func(path string) error { return os.MkdirAll(path, 0o755) }, "chmod 700"},
		{"a file", func(path string) error { return os.WriteFile(path, nil, 0o600) }, "not a folder"},
		{"a link", func(path string) error { return os.Symlink(folder, path) }, "not a folder"},
		{"absent", func(string) error { return nil }, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(folder, strings.ReplaceAll(test.name, " ", "-"))
			if err := test.make(path); err != nil {
				t.Fatal(err)
			}
			mustSay(t, checkPrivate(path), test.says)
		})
	}
	private := filepath.Join(folder, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := checkPrivate(private); err != nil {
		t.Error(err)
	}
}

// mustSay checks that an error says all of these.
func mustSay(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("there is no error that says %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q:\n%v", text, err)
		}
	}
}

// The daemon does not run on Windows, where there is nothing to start and no socket: only one elsewhere can be meant.
func TestResolveAddressOnWindows(t *testing.T) {
	there, err := resolveAddress(environment(map[string]string{"OVIRT_PROVISION_ADDRESS": "daemon.example.com:7443"}), "windows")
	if want := (Address{Target: "passthrough:///daemon.example.com:7443", Explicit: true}); err != nil || there != want {
		t.Errorf("got %+v, %v", there, err)
	}
	for _, given := range []string{"", "unix:/run/d.sock"} {
		_, err := resolveAddress(environment(map[string]string{
			"OVIRT_PROVISION_ADDRESS": given, "XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/home/a",
		}), "windows")
		if err == nil {
			t.Fatalf("'%s' is accepted", given)
		}
		for _, variable := range []string{AddressVariable, caFileVariable, certFileVariable, keyFileVariable, tokenFileVariable} {
			if !strings.Contains(err.Error(), variable) {
				t.Errorf("'%s': the error does not name %s: %v", given, variable, err)
			}
		}
	}
}
