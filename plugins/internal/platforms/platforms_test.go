//go:build !race

// Package platforms holds the types of what ships against the platforms that nobody tests on. The race detector would make
// that five times as slow, so that `make lint` runs it.
package platforms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const ourModule = "github.com/ovirt-provision/ovirt-provision/plugins"

// TestPlatforms checks the types of our packages for the other platforms of the release. To compile for them takes minutes
// where nothing is cached yet: `make plugin-platforms`.
func TestPlatforms(t *testing.T) {
	for platform, pattern := range map[string]string{
		"windows": ourModule + "/packer/packer-plugin-ovirt",
		// What is peculiar to a platform is there.
		"darwin": ourModule + "/internal/client",
	} {
		t.Run(platform, func(t *testing.T) {
			loaded, err := packages.Load(&packages.Config{
				Mode: packages.NeedName | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
					packages.NeedTypes | packages.NeedTypesInfo | packages.NeedSyntax,
				Env:       append(os.Environ(), "GOOS="+platform, "GOARCH=arm64", "CGO_ENABLED=0"),
				ParseFile: parseOurs,
			}, pattern)
			if err != nil {
				t.Fatal(err)
			}
			checked := 0
			packages.Visit(loaded, nil, func(checking *packages.Package) {
				if !strings.HasPrefix(checking.PkgPath, ourModule) {
					return
				}
				checked++
				for _, err := range checking.Errors {
					t.Error(err)
				}
			})
			if checked == 0 {
				t.Error("none of our packages was checked")
			}
		})
	}
}

// parseOurs parses files of ours, and of others what they declare, without the bodies of functions.
func parseOurs(files *token.FileSet, name string, source []byte) (*ast.File, error) {
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if file == nil || strings.Contains(name, "/plugins/") {
		return file, err
	}
	for _, declaration := range file.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok {
			function.Body = nil
		}
	}
	return file, err
}
