package wire

import "encoding/gob"

// The names are part of the protocol: gob sends them with each value, and hosts know the values by them.
func init() {
	gob.RegisterName("*rpcdriver.RPCFlags", new(Values))
	gob.RegisterName("*mcnflag.StringFlag", new(StringFlag))
	gob.RegisterName("*mcnflag.StringSliceFlag", new(StringSliceFlag))
	gob.RegisterName("*mcnflag.IntFlag", new(IntFlag))
	gob.RegisterName("*mcnflag.BoolFlag", new(BoolFlag))
}

// Flag is a flag of the host's `create`: a pointer to one of the four types below.
type Flag interface {
	isFlag()
}

// StringFlag is a flag with a text.
type StringFlag struct {
	Name   string
	Usage  string
	EnvVar string
	Value  string
}

// StringSliceFlag is a flag that may be repeated.
type StringSliceFlag struct {
	Name   string
	Usage  string
	EnvVar string
	Value  []string
}

// IntFlag is a flag with a number.
type IntFlag struct {
	Name   string
	Usage  string
	EnvVar string
	Value  int
}

// BoolFlag is a flag without a value.
type BoolFlag struct {
	Name   string
	Usage  string
	EnvVar string
}

func (*StringFlag) isFlag()      {}
func (*StringSliceFlag) isFlag() {}
func (*IntFlag) isFlag()         {}
func (*BoolFlag) isFlag()        {}

// Options are the flags of one `create`, with their defaults where the user gave none.
type Options interface {
	String(name string) string
	StringSlice(name string) []string
	Int(name string) int
	Bool(name string) bool
}

// Values are Options as they travel. A flag that the host did not send, or with another type, is zero.
type Values struct {
	Values map[string]any
}

func (v *Values) String(name string) string {
	value, _ := v.Values[name].(string)
	return value
}

// StringSlice returns the values of a StringSliceFlag.
func (v *Values) StringSlice(name string) []string {
	value, _ := v.Values[name].([]string)
	return value
}

// Int returns the value of an IntFlag.
func (v *Values) Int(name string) int {
	value, _ := v.Values[name].(int)
	return value
}

// Bool returns the value of a BoolFlag.
func (v *Values) Bool(name string) bool {
	value, _ := v.Values[name].(bool)
	return value
}
