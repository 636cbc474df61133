package driver

import (
	"strings"
	"testing"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// The user learns before the create, from the engine or the template's name, and from the guest, that the host will give up.
func TestWarningsOfWhatNoHostProvisions(t *testing.T) {
	h := newTestHost(t)
	h.daemon.AddTemplate(fakedaemon.TemplateID, "AlmaLinux-9")
	h.choose(t, map[string]any{flagTemplate: "AlmaLinux-9"})
	if err := h.PreCreateCheck(); err != nil {
		t.Fatal(err)
	}
	if want := "Warning: template AlmaLinux-9 seems to be of almalinux: no docker-machine knows it; with rancher-machine, --custom-install-script"; !strings.Contains(h.out.String(), want) {
		t.Errorf("the user is told:\n%s", h.out.String())
	}
	for os, want := range map[string]string{
		"windows_2022": "no docker-machine provisions Windows", "rhcos_x64": "Red Hat CoreOS", "rhel_9x64": "", "debian_12x64": "", "other_linux": "",
	} {
		if got := doubt(&pb.Template{Name: "t", Os: os}); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %s", os, got)
		}
	}
	for release, want := range map[string]string{
		"NAME=Rocky\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n": "the guest calls itself rocky: rancher-machine alone knows it",
		"ID=debian\n":                          "",
		"VERSION_ID=\"9\"\nID=\"almalinux\"\n": "almalinux: no docker-machine knows it",
		"":                                     "",
	} {
		if got := doubtOfGuest(release); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q: %s", release, got)
		}
	}
}
