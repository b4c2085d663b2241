package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/registry"
)

// command is one verb: all that dispatch, help, completion and the page of commands need to know.
type command struct {
	name   string // put, or with its noun: dep add
	args   []arg
	tail   string // what may follow behind a --
	flags  []option
	brief  string // one line of help
	long   string // what a stranger asks next; wrapped by hand
	exits  []int  // beside 0, 2 and what every verb may end with
	alone  bool   // it talks to no monitor: only --output and --help of the global flags mean something
	hidden bool   // not in help
	raw    bool   // its words are data, not flags
	direct bool   // it can do without a monitor
	remote bool   // it does without one
	orders bool   // a signal to end ends its context, not the process
	run    func(context.Context, *invocation) error
}

// arg is one word, or several, behind a verb.
type arg struct {
	name     string // NAME
	optional bool
	repeated bool
	values   candidates
}

func (a arg) String() string {
	s := a.name
	if a.repeated {
		s += "..."
	}
	if a.optional {
		s = "[" + s + "]"
	}
	return s
}

// synopsis is the verb with its arguments: put NAME [FILE|-].
func (c command) synopsis() string {
	words := []string{c.name}
	for _, a := range c.args {
		words = append(words, a.String())
	}
	if c.tail != "" {
		words = append(words, c.tail)
	}
	return strings.Join(words, " ")
}

// options of the verb, and the global ones that it does not define anew.
func (c command) options() []option {
	all := slices.Clone(c.flags)
	shared := globals
	switch {
	case c.direct:
		shared = slices.Concat(globals, directOptions())
	case c.remote:
		shared = slices.Concat(globals, whereOptions())
	}
	for _, g := range shared {
		own := slices.ContainsFunc(c.flags, func(o option) bool { return o.name == g.name })
		if own || c.alone && g.name != "output" && g.name != "help" {
			continue
		}
		all = append(all, g)
	}
	return all
}

// check that the number of words fits.
func (c command) check(words []string) error {
	least, most := 0, 0
	for _, a := range c.args {
		if !a.optional {
			least++
		}
		most++
		if a.repeated {
			most = len(words) + most
		}
	}
	switch {
	case len(words) < least:
		return wrongUsage("%s: %s is missing", c.name, c.args[len(words)].name)
	case len(words) > most && c.tail == "":
		return wrongUsage("%s: what is %q?", c.name, words[most])
	}
	return nil
}

// invocation is one command line, parsed, and where it reads and writes.
type invocation struct {
	command command
	words   []string // the arguments
	flags   *pflag.FlagSet
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	ending  func() error // lets go of what the verb opened; nil: nothing
}

// run is the whole program: it parses the command line, runs the verb and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	inv := &invocation{stdin: stdin, stdout: stdout, stderr: stderr}
	err := inv.parse(args)
	if err == nil && inv.command.orders {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, endings()...)
		defer stop()
	}
	if err == nil {
		err = inv.command.run(ctx, inv)
	}
	if inv.ending != nil {
		err = errors.Join(err, inv.ending())
	}
	inv.report(err)
	return exitCode(err)
}

// endings are the signals that ask a process to end. One that is ignored from the start, as by nohup, stays so.
func endings() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	return slices.DeleteFunc(all, signal.Ignored)
}

// parse fills in the invocation. A question for help becomes the command help.
func (inv *invocation) parse(args []string) error {
	if len(args) == 1 && args[0] == "--version" {
		args = []string{"version"} // what people try first
	}
	lead := flagSet(slices.Concat(globals, directOptions()))
	lead.SetInterspersed(false)
	if err := lead.Parse(args); err != nil {
		return flagError("", err)
	}
	c, words, err := findCommand(lead.Args())
	if help, _ := lead.GetBool("help"); help || c.name == "" && err == nil {
		inv.command, inv.flags = helpCommand(), flagSet(helpCommand().options())
		inv.words = strings.Fields(c.name)
		return nil
	}
	if err != nil {
		return err
	}
	inv.command = c
	inv.flags = flagSet(c.options())
	if c.raw {
		inv.words = words
		return inv.inherit(lead)
	}
	if err := inv.flags.Parse(words); err != nil {
		return flagError(c.name+": ", err)
	}
	if inv.bool("help") {
		inv.words = strings.Fields(c.name)
		inv.command = helpCommand()
		return nil
	}
	if err := inv.inherit(lead); err != nil {
		return err
	}
	inv.words = inv.flags.Args()
	return inv.check()
}

// flagError says what is wrong with a flag in words that help.
func flagError(verb string, err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return wrongUsage("%s%w", verb, err)
	}
	cause := invalid.Unwrap()
	if invalid.GetFlag().Value.Type() == "duration" {
		cause = errors.New("not a time such as 500ms, 10s or 2h")
	}
	return wrongUsage("%s--%s %s: %w", verb, invalid.GetFlag().Name, invalid.GetValue(), cause)
}

// check that the number of words fits, and say what a missing one could be.
func (inv *invocation) check() error {
	err := inv.command.check(inv.words)
	if err == nil {
		return nil
	}
	return inv.whichOne(context.Background(), err)
}

// inherit takes over the flags given before the verb and the defaults from the environment, and checks the choices.
func (inv *invocation) inherit(lead *pflag.FlagSet) error {
	for _, o := range directOptions() {
		if lead.Lookup(o.name).Changed && inv.flags.Lookup(o.name) == nil {
			return wrongUsage("%s: unknown flag: --%s", inv.command.name, o.name)
		}
	}
	for _, o := range inv.command.options() {
		f := inv.flags.Lookup(o.name)
		if given := lead.Lookup(o.name); given != nil && given.Changed && !f.Changed {
			if err := inv.flags.Set(o.name, given.Value.String()); err != nil {
				return wrongUsage("--%s: %w", o.name, err)
			}
		}
		if !f.Changed && o.env != "" && os.Getenv(o.env) != "" {
			if err := f.Value.Set(os.Getenv(o.env)); err != nil {
				return wrongUsage("%s: %w", o.env, err)
			}
		}
		if err := o.check(f.Value.String()); err != nil {
			return wrongUsage("--%s: %w", o.name, err)
		}
	}
	return nil
}

// findCommand takes the verb off the words.
func findCommand(words []string) (command, []string, error) {
	if len(words) == 0 {
		return command{}, nil, nil
	}
	all := commands()
	for _, n := range []int{2, 1} {
		if len(words) < n {
			continue
		}
		name := strings.Join(words[:n], " ")
		if i := slices.IndexFunc(all, func(c command) bool { return c.name == name }); i >= 0 {
			return all[i], words[n:], nil
		}
	}
	if verbs := verbsOf(words[0]); len(verbs) > 0 {
		if len(words) == 1 {
			return command{}, words, wrongUsage("%s: say what: %s", words[0], strings.Join(verbs, ", "))
		}
		err := wrongUsage("no command %q", words[0]+" "+words[1])
		if near, ok := registry.Nearest(words[1], verbs); ok {
			err = hint(err, "nearest: "+words[0]+" "+near)
		}
		return command{}, words, err
	}
	err := wrongUsage("no command %q", words[0])
	if near, ok := registry.Nearest(words[0], visibleVerbs()); ok {
		err = hint(err, "nearest: "+near)
	}
	return command{}, words, err
}

// verbsOf a noun: add, create, ... of dep.
func verbsOf(noun string) []string {
	var verbs []string
	for _, c := range commands() {
		if verb, ok := strings.CutPrefix(c.name, noun+" "); ok {
			verbs = append(verbs, verb)
		}
	}
	return verbs
}

// visibleVerbs are the first words of the commands in help.
func visibleVerbs() []string {
	var verbs []string
	for _, c := range commands() {
		if first, _, _ := strings.Cut(c.name, " "); !c.hidden && !slices.Contains(verbs, first) {
			verbs = append(verbs, first)
		}
	}
	return verbs
}

func (inv *invocation) report(err error) {
	if err == nil {
		return
	}
	if _, said := errors.AsType[exitStatus](err); said {
		return
	}
	fmt.Fprintf(inv.stderr, "kingpin: %s\n", words(err))
	if h, ok := errors.AsType[hinted](err); ok {
		for _, line := range h.hints {
			fmt.Fprintf(inv.stderr, "  %s\n", line)
		}
	}
	if _, wrong := errors.AsType[usageError](err); wrong {
		if inv.command.name != "" {
			fmt.Fprintf(inv.stderr, "  usage: kingpin %s\n", inv.command.synopsis())
		}
		fmt.Fprintf(inv.stderr, "  more: kingpin help%s\n", strings.TrimRight(" "+inv.command.name, " "))
	}
}

// words of an error, without those of a sentinel at the end that adds nothing to them.
func words(err error) string {
	text := err.Error()
	for _, f := range failures {
		rest, ok := strings.CutSuffix(text, ": "+f.err.Error())
		why := strings.Contains(rest, f.err.Error())
		if f.err == context.DeadlineExceeded { // whoever gave up on something says so in better words
			why = strings.Contains(rest, registry.ErrUnreachable.Error()) || strings.Contains(rest, registry.ErrTimeout.Error())
		}
		if ok && (f.silent || why) {
			return rest
		}
	}
	return text
}

// say is for words: what happened, to whom reads along. -q leaves it out.
func (inv *invocation) say(format string, args ...any) {
	if !inv.bool("quiet") {
		fmt.Fprintf(inv.stderr, format+"\n", args...)
	}
}

func (inv *invocation) word(i int) string {
	if i < len(inv.words) {
		return inv.words[i]
	}
	return ""
}

// The values of flags. A verb asks only for flags of its own table row, so an unknown one is a mistake in this program,
// except for the global flags that a verb without a monitor leaves out.

func (inv *invocation) bool(name string) bool {
	v, _ := inv.flags.GetBool(name)
	return v
}

func (inv *invocation) string(name string) string {
	v, _ := inv.flags.GetString(name)
	return v
}

func (inv *invocation) strings(name string) []string {
	v, _ := inv.flags.GetStringArray(name)
	return v
}

func (inv *invocation) duration(name string) time.Duration {
	v, _ := inv.flags.GetDuration(name)
	return v
}
