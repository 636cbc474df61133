package common

import (
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
)

func TestAddressOfTheHTTPServer(t *testing.T) {
	bound := commonsteps.HTTPConfig{HTTPAddress: "127.0.0.1"}
	for _, test := range []struct {
		name   string
		config Config
		engine string
		want   string
		fails  string
	}{
		{"as the user says", Config{HTTPIP: "192.0.2.7", HTTPConfig: bound}, "https://127.0.0.1/api", "192.0.2.7", ""},
		{"where it is bound", Config{HTTPConfig: bound}, "https://127.0.0.1/api", "127.0.0.1", ""},
		{"that of an interface", Config{HTTPConfig: commonsteps.HTTPConfig{HTTPInterface: "lo"}}, "https://127.0.0.1/api", "127.0.0.1", ""},
		{"that of no interface", Config{HTTPConfig: commonsteps.HTTPConfig{HTTPInterface: "nosuch0"}}, "https://127.0.0.1/api", "", "http_interface 'nosuch0'"},
		{"an engine on this host", Config{}, "https://127.0.0.1:8443/api", "", "no guest reaches anything"},
		{"an engine without a name", Config{}, "", "", "names no URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if problems := test.config.HTTPConfig.Prepare(nil); len(problems) > 0 {
				t.Fatal(problems)
			}
			found, err := test.config.httpAddress(t.Context(), test.engine)
			if found != test.want || (err == nil) != (test.fails == "") || (err != nil && !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("got (%q, %v), want (%q, %q)", found, err, test.want, test.fails)
			}
		})
	}
}
