package common

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/didyoumean"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
)

// Reporter takes what is wrong with an option.
type Reporter func(option, format string, values ...any)

// Problems are all that is wrong with a configuration.
type Problems struct {
	found *packersdk.MultiError
}

// Report is a Reporter.
func (p *Problems) Report(option, format string, values ...any) {
	p.Add(&options.Problem{Option: option, Text: fmt.Sprintf(format, values...)})
}

// Add adds what others have found.
func (p *Problems) Add(found ...error) {
	p.found = packersdk.MultiErrorAppend(p.found, found...)
}

// Errors are the problems.
func (p *Problems) Errors() []error {
	if p.found == nil {
		return nil
	}
	return p.found.Errors
}

// Err is all of them as one error; nil where there is none.
func (p *Problems) Err() error {
	if len(p.Errors()) == 0 {
		return nil
	}
	return p.found
}

// reportProblem reports a problem that was found with a request.
func reportProblem(report Reporter, err error) {
	var found *options.Problem
	if errors.As(err, &found) {
		report(found.Option, "%s", found.Text)
	} else {
		report("configuration", "%s", err)
	}
}

// Words are the values of an enum of the schema as the user writes them; the empty word means that none is given.
type Words[E ~int32] map[string]E

// WordsOf makes words of the enum's own names: without the prefix, in lower case, and without the one that is unspecified.
func WordsOf[E ~int32](prefix string, values map[string]int32) Words[E] {
	found := Words[E]{}
	for name, value := range values {
		if value != 0 {
			found[strings.ToLower(strings.TrimPrefix(name, prefix))] = E(value)
		}
	}
	return found
}

// Check reports a word that is none of them.
func (w Words[E]) Check(report Reporter, option, given string) {
	if _, known := w[given]; known || given == "" || given == options.NotKnownYet {
		return
	}
	allowed := slices.SortedFunc(maps.Keys(w), func(a, b string) int { return int(w[a]) - int(w[b]) })
	text := "'%s' is none of '" + strings.Join(allowed, "', '") + "'"
	if near := didyoumean.NameSuggestion(given, allowed); near != "" {
		text += "; did you mean '" + near + "'?"
	}
	report(option, text, given)
}
