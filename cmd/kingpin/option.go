package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// option is one flag, as data. The type of value, which is the default, is the type of the flag: bool, string, []string
// (repeatable), time.Duration, int, float64 or size.
type option struct {
	name    string
	short   string
	value   any
	word    string   // stands for the value in help: FILE
	usage   string   // one line
	choices []string // what the value may be; empty: anything
	env     string   // the environment variable that sets the default
	values  candidates
	hidden  bool
}

// globals are the flags of every verb.
var globals = []option{
	{name: "mount", value: "/var/kingpin", word: "PATH", env: "KINGPIN_MOUNT", usage: "where the mount is"},
	{name: "state", value: "/var/lib/kingpin", word: "PATH", env: "KINGPIN_STATE", usage: "the monitor's state directory, asked when there is no mount"},
	{name: "output", short: "o", value: "table", word: "FORMAT", choices: []string{"table", "json", "name"}, usage: "how to print: table, json or name"},
	{name: "quiet", short: "q", value: false, usage: "say nothing but data and errors"},
	{name: "timeout", value: 10 * time.Second, word: "TIME", usage: "how long to wait for an answer"},
	{name: "help", short: "h", value: false, usage: "show help"},
}

// flagSet makes the pflag set of some options; it prints nothing by itself.
func flagSet(options []option) *pflag.FlagSet {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.SortFlags = false
	for _, o := range options {
		o.addTo(set)
	}
	return set
}

func (o option) addTo(set *pflag.FlagSet) {
	usage := o.usage
	if o.word != "" {
		usage = "`" + o.word + "`" + usage
	}
	switch v := o.value.(type) {
	case bool:
		set.BoolP(o.name, o.short, v, usage)
	case string:
		set.StringP(o.name, o.short, v, usage)
	case []string:
		set.StringArrayP(o.name, o.short, v, usage)
	case time.Duration:
		set.DurationP(o.name, o.short, v, usage)
	case int:
		set.IntP(o.name, o.short, v, usage)
	case float64:
		set.Float64P(o.name, o.short, v, usage)
	case size:
		set.VarP(&v, o.name, o.short, usage)
	default:
		panic(fmt.Sprintf("option %s has a value of type %T", o.name, v))
	}
	set.Lookup(o.name).Hidden = o.hidden
}

// check refuses a value that is not among the choices, and a time below nothing.
func (o option) check(value string) error {
	if _, ok := o.value.(time.Duration); ok && strings.HasPrefix(value, "-") {
		return fmt.Errorf("%s is less than nothing", value)
	}
	if len(o.choices) == 0 {
		return nil
	}
	for _, c := range o.choices {
		if value == c {
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", value, strings.Join(o.choices, ", "))
}

// size is a number of bytes, written 4096, 64KiB, 16MiB or 1GiB.
type size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

func (s *size) Type() string { return "size" }

func (s size) String() string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		if u := sizeUnits[i]; s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Set parses one of the ways to write a size.
func (s *size) Set(text string) error {
	unit := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(text, u.suffix); ok {
			text, unit = number, u.bytes
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("not a size such as 4096, 64KiB or 16MiB")
	}
	*s = size(n * unit)
	return nil
}
