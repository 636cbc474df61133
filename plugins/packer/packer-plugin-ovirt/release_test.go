package main

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	pluginsdk "github.com/hashicorp/packer-plugin-sdk/plugin"

	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/version"
)

// releaseConfig is what matters here of .goreleaser.yml.
type releaseConfig struct {
	ProjectName string `yaml:"project_name"`
	Builds      []struct {
		Ldflags      []string
		Goos, Goarch []string
		Binary       string
	}
	Archives []struct {
		Formats      []string
		NameTemplate string `yaml:"name_template"`
	}
	Checksum struct {
		NameTemplate string `yaml:"name_template"`
		Algorithm    string
	}
	Release struct {
		Github struct{ Owner, Name string }
	}
}

func readReleaseConfig(t *testing.T) *releaseConfig {
	t.Helper()
	content, err := os.ReadFile(".goreleaser.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := new(releaseConfig)
	if err := yaml.Unmarshal(content, config); err != nil {
		t.Fatal(err)
	}
	if len(config.Builds) != 1 || len(config.Archives) != 1 {
		t.Fatalf("there are %d builds and %d archives, not one each", len(config.Builds), len(config.Archives))
	}
	return config
}

// render fills a template of the configuration in, as GoReleaser does for a platform.
func (c *releaseConfig) render(t *testing.T, text, goos, goarch string) string {
	t.Helper()
	parsed, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var rendered strings.Builder
	if err := parsed.Execute(&rendered, map[string]any{
		"ProjectName": c.ProjectName, "Version": version.Version, "Os": goos, "Arch": goarch,
		"Env": map[string]string{"API_VERSION": "x" + pluginsdk.APIVersionMajor + "." + pluginsdk.APIVersionMinor},
	}); err != nil {
		t.Fatal(err)
	}
	return rendered.String()
}

func TestReleaseNames(t *testing.T) {
	config := readReleaseConfig(t)
	build, archive := config.Builds[0], config.Archives[0]
	for _, goos := range []string{"linux", "darwin", "windows"} {
		if !slices.Contains(build.Goos, goos) {
			t.Errorf("there is no release for %s", goos)
		}
	}
	if !slices.Equal(archive.Formats, []string{"zip"}) || config.Checksum.Algorithm != "sha256" {
		t.Errorf("packer init takes zip and sha256, not %s and %s", archive.Formats, config.Checksum.Algorithm)
	}
	// What GetOptions and ExpectedFileName of packer's plugin getter say.
	name := "packer-plugin-ovirt_v" + version.Version + "_x5.0_darwin_arm64"
	if got := config.render(t, archive.NameTemplate, "darwin", "arm64"); got != name {
		t.Errorf("the archive is %s, not %s", got, name)
	}
	if got := config.render(t, build.Binary, "darwin", "arm64"); got != name {
		t.Errorf("the binary in it is %s, not %s", got, name)
	}
	if got, want := config.render(t, config.Checksum.NameTemplate, "", ""), "packer-plugin-ovirt_v"+version.Version+"_SHA256SUMS"; got != want {
		t.Errorf("the checksums are in %s, not %s", got, want)
	}
	if at := config.Release.Github.Owner + "/" + config.Release.Github.Name; at != "ovirt-provision/packer-plugin-ovirt" {
		t.Errorf("the release is at %s", at)
	}
}

// The linker says nothing when it is to set a variable that does not exist.
func TestReleaseSetsTheVersion(t *testing.T) {
	source, err := os.ReadFile("version/version.go")
	if err != nil {
		t.Fatal(err)
	}
	flags := readReleaseConfig(t).Builds[0].Ldflags
	for _, variable := range []string{"Version", "VersionPrerelease"} {
		if !strings.Contains(string(source), "\n\t"+variable+" = \"") {
			t.Errorf("version/version.go has no variable %s", variable)
		}
		if !slices.ContainsFunc(flags, func(flag string) bool {
			return strings.HasPrefix(flag, "-X github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/version."+variable+"=")
		}) {
			t.Errorf("the linker is not told %s", variable)
		}
	}
}

// releasedVariable lets the test binary say that it is a release, as the linker does for a real one.
const releasedVariable = "PACKER_PLUGIN_OVIRT_RELEASED"

// TestInit lets the real packer install a release that has the names of .goreleaser.yml, from a GitHub of its own.
func TestInit(t *testing.T) {
	p := findPacker(t)
	config := readReleaseConfig(t)
	archive := config.render(t, config.Archives[0].NameTemplate, runtime.GOOS, runtime.GOARCH) + "." + config.Archives[0].Formats[0]
	content := zipped(t, config.render(t, config.Builds[0].Binary, runtime.GOOS, runtime.GOARCH))
	release := "/" + config.Release.Github.Owner + "/" + config.Release.Github.Name + "/releases/download/v" + version.Version + "/"
	pages := map[string][]byte{
		"api.github.com/repos/" + config.Release.Github.Owner + "/" + config.Release.Github.Name + "/git/matching-refs/tags": fmt.Appendf(
			nil, `[{"ref": "refs/tags/v%s"}]`, version.Version),
		"github.com" + release + config.render(t, config.Checksum.NameTemplate, "", ""): fmt.Appendf(
			nil, "%x  %s\n", sha256.Sum256(content), archive),
		"github.com" + release + archive: content,
	}
	p.environment = append(p.environment, serveInternet(t, pages)...)
	p.environment = append(p.environment, releasedVariable+"=1")

	file, err := filepath.Abs("example/minimal.pkr.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if code, output := p.run(t, "init", file); code != 0 || !strings.Contains(output, "Installed plugin github.com/ovirt-provision/ovirt v"+version.Version) {
		t.Errorf("packer init: exit code %d\n%s", code, output)
	}
	if code, output := p.run(t, "validate", file); code != 0 {
		t.Errorf("packer validate: exit code %d\n%s", code, output)
	}
}

// zipped is an archive that holds this test binary alone, under a name.
func zipped(t *testing.T, name string) []byte {
	t.Helper()
	itself, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Skip("only where a process can read its own program")
	}
	defer itself.Close()
	var content bytes.Buffer
	archive := zip.NewWriter(&content)
	// Stored as it is: packing it takes seconds.
	entry, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(entry, itself); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return content.Bytes()
}

// serveInternet serves pages, by host and path, over HTTPS and returns the environment in which a program finds nothing
// else.
func serveInternet(t *testing.T, pages map[string][]byte) []string {
	t.Helper()
	certificate, caFile := certificateFor(t, "api.github.com", "github.com", "releases.hashicorp.com")
	internet := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, known := pages[r.Host+r.URL.Path]
		if !known {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(page)
	}))
	internet.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	internet.StartTLS()
	t.Cleanup(internet.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connectTo(w, internet.Listener.Addr())
	}))
	t.Cleanup(proxy.Close)
	return []string{"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=", "SSL_CERT_FILE=" + caFile, "PACKER_GITHUB_API_TOKEN="}
}

// connectTo answers CONNECT, whatever it asks for, with a tunnel to one address.
func connectTo(w http.ResponseWriter, address net.Addr) {
	there, err := net.Dial(address.Network(), address.String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	w.WriteHeader(http.StatusOK)
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	go func() {
		_, _ = io.Copy(there, buffered)
		there.Close()
	}()
	_, _ = io.Copy(here, there)
}

// certificateFor makes a certificate for hosts, and the file of the CA that vouches for it: itself.
func certificateFor(t *testing.T, hosts ...string) (certificate tls.Certificate, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: hosts, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, caFile
}
