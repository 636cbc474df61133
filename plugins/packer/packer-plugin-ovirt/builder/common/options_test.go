package common

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is documented is what there is: the generated option tables are up to date with the configuration.
func TestDocumentationNamesEachOption(t *testing.T) {
	var documented strings.Builder
	partials, err := filepath.Glob("../../docs-partials/builder/*/*required.mdx")
	if err != nil || len(partials) == 0 {
		t.Fatalf("partials: %v, %v", partials, err)
	}
	for _, partial := range partials {
		content, err := os.ReadFile(partial)
		if err != nil {
			t.Fatal(err)
		}
		documented.Write(content)
	}
	// The SDK's own texts document these.
	foreign := []string{"ssh_username", "cd_files", "boot_command"}
	for _, option := range slices.Concat(commonOptions, templateOptions, diskOptions) {
		name := option.Option[strings.LastIndex(strings.TrimSuffix(option.Option, "."), ".")+1:]
		name = strings.TrimSuffix(strings.TrimSuffix(name, "."), "[]")
		if !slices.Contains(foreign, name) && !strings.Contains(documented.String(), "- `"+name+"`") {
			t.Errorf("%s is not documented", option.Option)
		}
	}
}
