package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
)

// components are the plugin's components with their pages, relative to .web-docs/components.
func components(t *testing.T) map[string]hcldec.ObjectSpec {
	t.Helper()
	set := newSet()
	shapes := map[string]hcldec.ObjectSpec{}
	for name, component := range set.Builders {
		shapes["builder/"+name] = component.ConfigSpec()
	}
	for name, component := range set.PostProcessors {
		shapes["post-processor/"+name] = component.ConfigSpec()
	}
	for name, component := range set.Datasources {
		shapes["data-source/"+name] = component.ConfigSpec()
	}
	return shapes
}

// internal are the options that Packer's core sets, and two that hold keys in memory.
var internal = regexp.MustCompile(`^(packer_.*|ssh_public_key|ssh_private_key)$`)

// blocksOf are the component's own options and those of its blocks, one set for each kind of block.
func blocksOf(shape hcldec.ObjectSpec) [][]string {
	var names []string
	var blocks [][]string
	for name, spec := range shape {
		if internal.MatchString(name) {
			continue
		}
		names = append(names, name)
		for _, nested := range hcldec.ChildBlockTypes(spec) {
			blocks = append(blocks, blocksOf(nested.(hcldec.ObjectSpec))...)
		}
	}
	slices.Sort(names)
	blocks = append(blocks, names)
	slices.SortFunc(blocks, slices.Compare)
	return slices.CompactFunc(blocks, slices.Equal)
}

func TestEachOptionIsOnThePageOfItsComponent(t *testing.T) {
	for component, shape := range components(t) {
		page, err := os.ReadFile(filepath.Join(".web-docs/components", component, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		wanted := map[string]int{}
		for _, block := range blocksOf(shape) {
			for _, option := range block {
				wanted[option]++
			}
		}
		for option, times := range wanted {
			if found := strings.Count(string(page), "\n- `"+option+"` ("); found < times {
				t.Errorf("%s: %s is in %d blocks and documented %d times", component, option, times, found)
			}
		}
	}
}

// Where a field has no comment, packer-sdc writes the words of its name instead: a page that says nothing.
func TestEachOptionHasAComment(t *testing.T) {
	files, err := filepath.Glob("*/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	documented := 0
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".hcl2spec.go") {
			continue
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			field, ok := node.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			option := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("mapstructure")
			switch {
			case option == "" || strings.Contains(option, ","):
			case field.Doc == nil:
				t.Errorf("%s: the option %s has no comment", file, option)
			default:
				documented++
			}
			return true
		})
	}
	if documented == 0 {
		t.Error("no option was found")
	}
}

// The pages of HashiCorp's site are listed in metadata.hcl.
func TestEachComponentIsInTheMetadata(t *testing.T) {
	metadata, err := os.ReadFile(".web-docs/metadata.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, found := range regexp.MustCompile(`type = "(.*)"\n.*\n\s+slug = "(.*)"`).FindAllStringSubmatch(string(metadata), -1) {
		listed = append(listed, found[1]+"/"+found[2])
	}
	var there []string
	for component := range components(t) {
		there = append(there, component)
	}
	slices.Sort(listed)
	slices.Sort(there)
	if !slices.Equal(listed, there) {
		t.Errorf("metadata.hcl lists %v, the plugin has %v", listed, there)
	}
}
