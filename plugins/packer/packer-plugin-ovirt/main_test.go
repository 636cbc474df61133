package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	pluginversion "github.com/hashicorp/packer-plugin-sdk/version"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/fakedaemon"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/version"
)

// TestMain lets the test binary be the plugin that packer runs, so that what is tested is what was just built.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "describe" || os.Args[1] == "start") {
		if os.Getenv(releasedVariable) != "" {
			version.PluginVersion = pluginversion.NewPluginVersion(version.Version, "", "")
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// packer is the real packer, with the plugin installed, in a folder of its own.
type packer struct {
	program     string
	environment []string
	folder      string
}

// findPacker finds the packer in $PACKER or on PATH, and skips the test where there is none.
func findPacker(t *testing.T) *packer {
	t.Helper()
	program := os.Getenv("PACKER")
	if program == "" {
		found, err := exec.LookPath("packer")
		if err != nil {
			t.Skip("there is no packer on PATH, nor does $PACKER name one")
		}
		program = found
	}
	folder := t.TempDir()
	return &packer{program: program, folder: folder, environment: append(os.Environ(),
		"CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1", "PACKER_CONFIG_DIR="+folder, "TMPDIR="+folder,
		"PACKER_PLUGIN_PATH="+filepath.Join(folder, "plugins"), "PACKER_CACHE_DIR="+filepath.Join(folder, "cache"),
	)}
}

// installPlugin installs the plugin as users do who have built it.
func installPlugin(t *testing.T) *packer {
	t.Helper()
	p := findPacker(t)
	binary := filepath.Join(p.folder, "packer-plugin-ovirt")
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(itself, binary); err != nil {
		t.Fatal(err)
	}
	if code, output := p.run(t, "plugins", "install", "--path", binary, "github.com/ovirt-provision/ovirt"); code != 0 {
		t.Fatalf("packer plugins install:\n%s", output)
	}
	return p
}

func (p *packer) command(arguments ...string) *exec.Cmd {
	command := exec.Command(p.program, arguments...)
	command.Dir, command.Env = p.folder, p.environment
	return command
}

// run runs packer to its end and gives its exit code and all it printed.
func (p *packer) run(t *testing.T, arguments ...string) (code int, output string) {
	t.Helper()
	command := p.command(arguments...)
	printed, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatalf("packer %s: %v", strings.Join(arguments, " "), err)
	}
	return command.ProcessState.ExitCode(), string(printed)
}

func (p *packer) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(p.folder, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const buildFile = `
source "ovirt-clone" "debian" {
  source_template_name = "debian-12"
  template_name        = "golden-{{timestamp}}"
  communicator         = "none"
  user_data        = "runcmd: []"
}
build {
  sources = ["source.ovirt-clone.debian"]
  provisioner "shell-local" {
    inline = ["echo provisioning ${build.VMName} ${build.VMID} at ${build.VMAddress}"]
  }
  post-processor "manifest" {
    custom_data = { template = build.TemplateName }
  }
}
`

func TestWithRealPacker(t *testing.T) {
	p := installPlugin(t)

	examples, err := filepath.Glob("example/*.pkr.hcl")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range examples {
		t.Run(name+" is valid", func(t *testing.T) {
			path, err := filepath.Abs(name)
			if err != nil {
				t.Fatal(err)
			}
			if code, output := p.run(t, "validate", path); code != 0 || strings.Contains(output, "Warning") {
				t.Errorf("packer validate:\n%s", output)
			}
			if code, output := p.run(t, "fmt", "-check", "-diff", path); code != 0 {
				t.Errorf("packer fmt:\n%s", output)
			}
		})
	}

	t.Run("all that is wrong is said at once", func(t *testing.T) {
		file := p.write(t, "bad.pkr.hcl", `
source "ovirt-clone" "bad" {
  cpu_cores = -1
  network_interface {
    name         = "nic 1"
    vnic_profile = "ovirtmgmt"
  }
}
build { sources = ["source.ovirt-clone.bad"] }
`)
		code, output := p.run(t, "validate", file)
		if code == 0 {
			t.Errorf("packer validate finds nothing wrong")
		}
		for _, option := range []string{"source_template_name", "template_name", "ssh_username", "cpu_cores", "network_interface[0].name"} {
			if !strings.Contains(output, option) {
				t.Errorf("%s is not named:\n%s", option, output)
			}
		}
	})

	t.Run("an unknown option is refused", func(t *testing.T) {
		file := p.write(t, "unknown.pkr.hcl", strings.Replace(buildFile, "communicator ", "comunicator ", 1))
		code, output := p.run(t, "validate", file)
		if code == 0 || !strings.Contains(output, "comunicator") {
			t.Errorf("exit code %d:\n%s", code, output)
		}
	})

	t.Run("a build makes a template", func(t *testing.T) {
		daemon := fakedaemon.Start(t)
		t.Setenv("OVIRT_PROVISION_ADDRESS", daemon.Address)
		p := p.here()
		code, output := p.run(t, "build", p.write(t, "build.pkr.hcl", buildFile))
		if code != 0 {
			t.Fatalf("packer build:\n%s", output)
		}
		for _, text := range []string{
			"provisioning packer-debian-", fakedaemon.MachineID + " at 127.0.0.9", "Where the time went",
			"oVirt template golden-", "id " + fakedaemon.TemplateID,
		} {
			if !strings.Contains(output, text) {
				t.Errorf("the output lacks %q:\n%s", text, output)
			}
		}
		manifest, err := os.ReadFile(filepath.Join(p.folder, "packer-manifest.json"))
		if err != nil || !bytes.Contains(manifest, []byte(fakedaemon.TemplateID)) || !bytes.Contains(manifest, []byte(`"template": "golden-`)) {
			t.Errorf("manifest: %v\n%s", err, manifest)
		}
		if left := daemon.Left(); len(left) != 1 || !strings.HasPrefix(left[0], "template golden-1") {
			t.Errorf("left: %v", left)
		}
	})

	t.Run("a post-processor that keeps nothing destroys the template", func(t *testing.T) {
		daemon := fakedaemon.Start(t)
		t.Setenv("OVIRT_PROVISION_ADDRESS", daemon.Address)
		p := p.here()
		p.write(t, "file", "what is left of the build")
		code, output := p.run(t, "build", p.write(t, "artifice.pkr.hcl", strings.Replace(
			buildFile, "post-processor \"manifest\" {\n    custom_data = { template = build.TemplateName }",
			"post-processor \"artifice\" {\n    files               = [\"file\"]\n    keep_input_artifact = false", 1)))
		if left := daemon.Left(); code != 0 || len(left) != 0 || !slices.Contains(daemon.Methods(), "DestroyTemplate") {
			t.Errorf("exit code %d, left: %v\n%s", code, left, output)
		}
	})

	for name, signal := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM} {
		t.Run(name+" undoes everything", func(t *testing.T) {
			daemon := fakedaemon.Start(t)
			t.Setenv("OVIRT_PROVISION_ADDRESS", daemon.Address)
			p := p.here()
			var command *exec.Cmd
			daemon.On("StopMachine", fakedaemon.Behaviour{Hang: true})
			command = p.command("build", p.write(t, "build.pkr.hcl", buildFile))
			command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var output bytes.Buffer
			command.Stdout, command.Stderr = &output, &output
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := daemon.WaitCall(ctx, "StopMachine"); err != nil {
				t.Error(err)
			}
			// As a terminal does: to the whole process group.
			if err := syscall.Kill(-command.Process.Pid, signal); err != nil {
				t.Error(err)
			}
			if err := command.Wait(); err == nil {
				t.Errorf("packer ends with success:\n%s", output.String())
			}
			if left := daemon.Left(); len(left) != 0 || daemon.Running() != 0 {
				t.Errorf("left: %v, %d operations still run; calls: %v\n%s", left, daemon.Running(), daemon.Methods(), output.String())
			}
			if methods := daemon.Methods(); !slices.Contains(methods, "CancelOperation") {
				t.Errorf("methods: %v", methods)
			}
		})
	}
}

// here is packer with the environment as it is now.
func (p *packer) here() *packer {
	changed := *p
	changed.environment = append(slices.Clone(p.environment), "OVIRT_PROVISION_ADDRESS="+os.Getenv("OVIRT_PROVISION_ADDRESS"))
	return &changed
}
