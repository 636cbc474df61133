package driver

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/wire"
	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
)

// The variables are all that later commands have.
func TestACredentialIsTakenFromTheEnvironmentAlone(t *testing.T) {
	if variable := credential.flags[0].variable(); variable != client.AddressVariable {
		t.Errorf("the address is in %s, and read from %s", variable, client.AddressVariable)
	}
	given := &wire.Values{Values: map[string]any{"ovirt-provision-token": "canary"}}
	h := newTestHost(t)
	err := h.SetConfigFromFlags(given)
	mustSay(t, err, "--ovirt-provision-token: is not kept", "OVIRT_PROVISION_TOKEN instead")
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the error shows the token: %v", err)
	}
	t.Setenv("OVIRT_PROVISION_TOKEN", "canary")
	if err := h.SetConfigFromFlags(given); err != nil {
		t.Fatal(err)
	}
	state, err := h.GetConfigRaw()
	if err != nil || strings.Contains(string(state), "canary") {
		t.Errorf("kept: %s, %v", state, err)
	}
}

// Rancher knows flags as fields: without the driver's name, in camel case, and back again by these very rules.
var (
	hyphen = regexp.MustCompile(`-([a-z])`)
	humps  = regexp.MustCompile(`([a-z])([A-Z])`)
)

func TestRanchersManifest(t *testing.T) {
	content, err := os.ReadFile("../rancher/node-driver.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Kind     string
		Metadata struct {
			Name        string
			Annotations map[string]string
		}
		Spec struct {
			AddCloudCredential bool `yaml:"addCloudCredential"`
		}
	}
	if err := yaml.Unmarshal(content, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Kind != "NodeDriver" || manifest.Metadata.Name != new(Driver).DriverName() || !manifest.Spec.AddCloudCredential {
		t.Errorf("manifest %+v", manifest)
	}
	fields := map[string]*wire.StringFlag{}
	for _, flag := range New(nil).GetCreateFlags() {
		if text, ok := flag.(*wire.StringFlag); ok {
			name := strings.TrimPrefix(text.Name, "ovirt-")
			fields[hyphen.ReplaceAllStringFunc(name, func(part string) string { return strings.ToUpper(part[1:]) })] = text
		}
	}
	var filled []string
	for _, annotation := range []string{"publicCredentialFields", "privateCredentialFields", "passwordFields"} {
		for _, field := range strings.Split(manifest.Metadata.Annotations[annotation], ",") {
			flag, known := fields[field]
			if !known {
				t.Errorf("%s: there is no flag for %s", annotation, field)
				continue
			}
			if variable := strings.ToUpper("ovirt_" + humps.ReplaceAllString(field, "${1}_${2}")); variable != flag.EnvVar {
				t.Errorf("Rancher sets %s for %s, whose variable is %s", variable, flag.Name, flag.EnvVar)
			}
			filled = append(filled, flag.Name)
		}
	}
	for _, flag := range credential.flags {
		if !slices.Contains(filled, flag.name) {
			t.Errorf("Rancher would keep --%s in the machine's configuration", flag.name)
		}
	}
}

// Hosts make an operating system of a flag that ends so, and the path of a file of one that names user data.
func TestNoFlagIsTakenForWhatItIsNot(t *testing.T) {
	var files []string
	for _, flag := range New(nil).GetCreateFlags() {
		name := nameOf(flag)
		if strings.HasSuffix(name, "-os") {
			t.Errorf("--%s would be taken for the operating system", name)
		}
		for _, part := range []string{"user-data", "userdata", "custom-data", "cloud-config"} {
			if strings.Contains(name, part) {
				files = append(files, name)
			}
		}
	}
	if !slices.Equal(files, []string{flagUserData}) {
		t.Errorf("taken for user-data files: %v", files)
	}
}

func nameOf(flag wire.Flag) string {
	switch flag := flag.(type) {
	case *wire.StringFlag:
		return flag.Name
	case *wire.StringSliceFlag:
		return flag.Name
	case *wire.IntFlag:
		return flag.Name
	case *wire.BoolFlag:
		return flag.Name
	}
	return ""
}
