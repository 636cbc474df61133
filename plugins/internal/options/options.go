// Package options says what is wrong with a request in the words of the user who wrote it as options of a shim.
package options

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/ovirt-provision/ovirt-provision/plugins/internal/client"
)

// NotKnownYet is what `packer validate` gives in place of a string that comes from a data source.
const NotKnownYet = "<unknown>"

// Problem is one thing that is wrong with what the user gave.
type Problem struct {
	Option string
	Text   string
}

func (p *Problem) Error() string {
	return p.Option + ": " + p.Text
}

// Origin says which option of the user a field of a request comes from. `[]` in the field stands for any index, and in the
// option for the same one; it is left out where an option that may be repeated has no index for the user. A field that ends
// in a dot stands for all that are below it, which have the same names in the option.
type Origin struct {
	Field  string
	Option string
}

var index = regexp.MustCompile(`\[\d+\]`)

// Origins are those of one request. A field that is a prefix comes after the fields below it.
type Origins []Origin

// of names the option that a field comes from; a field that no option sets keeps its name.
func (o Origins) of(field string) string {
	for _, known := range o {
		path, option := field, known.Option
		if strings.Contains(known.Field, "[]") {
			path = index.ReplaceAllString(field, "[]")
			for _, found := range index.FindAllString(field, -1) {
				option = strings.Replace(option, "[]", found, 1)
			}
		}
		rest, below := strings.CutPrefix(path, known.Field)
		switch {
		case below && strings.HasSuffix(known.Field, "."):
			return option + rest
		case below && (rest == "" || rest[0] == '['):
			return option + rest
		case below && rest[0] == '.':
			return option
		}
	}
	return field
}

// Check holds a request against the rules of the schema. Options that are among the known problems are left out.
func (o Origins) Check(request proto.Message, known []error) []error {
	err := protovalidate.Validate(request)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return []error{fmt.Errorf("the schema's rules cannot be checked: %w", err)}
	}
	var problems []error
	for _, violation := range invalid.Violations {
		if violation.FieldValue.IsValid() && violation.FieldValue.Interface() == NotKnownYet {
			continue
		}
		found := o.problem(violation)
		if !slices.ContainsFunc(known, func(err error) bool {
			var other *Problem
			return errors.As(err, &other) && other.Option == found.Option
		}) {
			problems = append(problems, found)
		}
	}
	return problems
}

func (o Origins) problem(violation *protovalidate.Violation) *Problem {
	found := &Problem{
		Option: o.of(protovalidate.FieldPathString(violation.Proto.GetField())),
		Text:   violation.Proto.GetMessage(),
	}
	if !violation.FieldValue.IsValid() {
		return found
	}
	switch value := violation.FieldValue.Interface().(type) {
	case string:
		if value == "" {
			found.Text = "is required"
		} else {
			found.Text = fmt.Sprintf("'%s': %s", value, found.Text)
		}
	case int32, int64:
		found.Text = fmt.Sprintf("%d: %s", value, found.Text)
	}
	return found
}

// Rename renames the fields that an error of the daemon speaks of to the options of the user.
func (o Origins) Rename(err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) || len(refused.Detail.GetViolations()) == 0 {
		return err
	}
	renamed := proto.CloneOf(refused.Detail)
	for _, violation := range renamed.Violations {
		violation.Field = o.of(violation.Field)
	}
	return &client.Error{Detail: renamed, Typed: refused.Typed}
}

// ToInt32 keeps what does not fit out of range instead of wrapping it around, so that the schema's rules refuse it.
func ToInt32(value int) int32 {
	return int32(min(max(value, math.MinInt32), math.MaxInt32))
}
