package driver

import (
	"fmt"
	"regexp"
	"strings"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Which provisioners the hosts have, by the ID of /etc/os-release, which has to match exactly. Source:
// libmachine/provision of docker-machine 0.16.2, GitLab's fork and rancher-machine.
var (
	everyHostKnows = []string{
		"debian", "ubuntu", "centos", "rhel", "fedora", "ol", "sles", "sled", "opensuse", "opensuse-leap", "arch", "coreos",
		"boot2docker", "rancheros",
	}
	someHostsKnow = map[string]string{
		"amzn":   "rancher-machine and GitLab's fork know it, docker-machine does not",
		"photon": "rancher-machine alone knows it",
		"rocky":  "rancher-machine alone knows it",
	}
)

const unprovisioned = "with rancher-machine, --custom-install-script does without a provisioner"

// operatingSystems are engine's operating systems that no host provisions, by how they begin.
var operatingSystems = []struct{ begins, name string }{
	{"windows", "Windows"}, {"rhcos", "Red Hat CoreOS"}, {"rhel_atomic", "RHEL Atomic Host"}, {"freebsd", "FreeBSD"},
}

// distributions are those that a template may be of without the engine having a name for them.
var distributions = []struct {
	named *regexp.Regexp
	id    string
}{
	{regexp.MustCompile(`(?i)alma`), "almalinux"},
	{regexp.MustCompile(`(?i)rocky`), "rocky"},
	{regexp.MustCompile(`(?i)photon`), "photon"},
	{regexp.MustCompile(`(?i)alpine`), "alpine"},
	{regexp.MustCompile(`(?i)amazon|amzn`), "amzn"},
}

// doubt says whether the hosts may not know what to do with the guest of a template; empty where nothing speaks against it. The
// engine knows families of operating systems alone, so the template's name is asked, too.
func doubt(template *pb.Template) string {
	for _, one := range operatingSystems {
		if strings.HasPrefix(template.GetOs(), one.begins) {
			return fmt.Sprintf("template %s has the operating system %s, and no docker-machine provisions %s; %s",
				template.GetName(), template.GetOs(), one.name, unprovisioned)
		}
	}
	for _, one := range distributions {
		if one.named.MatchString(template.GetName()) {
			return fmt.Sprintf("template %s seems to be of %s", template.GetName(), provisioners(one.id))
		}
	}
	return ""
}

// provisioners says which hosts know a distribution; empty where all do.
func provisioners(id string) string {
	for _, known := range everyHostKnows {
		if id == known {
			return ""
		}
	}
	who, some := someHostsKnow[id]
	if !some {
		who = "no docker-machine knows it"
	}
	return fmt.Sprintf("%s: %s; %s", id, who, unprovisioned)
}

var osReleaseID = regexp.MustCompile(`(?m)^ID=["']?([A-Za-z0-9._-]+)["']?\s*$`)

// doubtOfGuest is as doubt, of what a guest has in /etc/os-release.
func doubtOfGuest(osRelease string) string {
	found := osReleaseID.FindStringSubmatch(osRelease)
	if found == nil {
		return ""
	}
	if told := provisioners(found[1]); told != "" {
		return "the guest calls itself " + told
	}
	return ""
}
