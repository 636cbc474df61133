// Command document writes the flags of `create` into the documentation, between two comments.
package main

import (
	"fmt"
	"os"
	"regexp"

	"github.com/ovirt-provision/ovirt-provision/plugins/docker_machine/driver"
)

// page is seen from the folder of the driver, where go generate runs this.
const page = "../../../docs/docker-machine.md"

var generated = regexp.MustCompile(`(?s)(<!-- begin: written by go generate -->\n).*?(<!-- end -->)`)

func main() {
	text, err := os.ReadFile(page)
	if err == nil && !generated.Match(text) {
		err = fmt.Errorf("%s has no place for the flags", page)
	}
	if err == nil {
		err = os.WriteFile(page, generated.ReplaceAll(text, []byte("${1}\n"+driver.FlagTables()+"${2}")), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
