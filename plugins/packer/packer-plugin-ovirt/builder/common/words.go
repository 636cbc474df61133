package common

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/didyoumean"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/options"
)

// Reporter takes what is wrong with an option.
type Reporter func(option, format string, values ...any)

// words are the values of an enum of the schema as the user writes them; the empty word means that none is given.
type words[E ~int32] map[string]E

// wordsOf makes words of the enum's own names: without the prefix, in lower case, and without the one that is unspecified.
func wordsOf[E ~int32](prefix string, values map[string]int32) words[E] {
	found := words[E]{}
	for name, value := range values {
		if value != 0 {
			found[strings.ToLower(strings.TrimPrefix(name, prefix))] = E(value)
		}
	}
	return found
}

// check reports a word that is none of them.
func (w words[E]) check(report Reporter, option, given string) {
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
