package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// intro is the first screen of help.
const intro = `KingPin: configuration and service discovery as files.

usage: kingpin VERB NAME
`

// aboutNames explains what the verbs have in common.
const aboutNames = `NAME is a name in full (config.manageddata.spam.blacklist, discovery.user.prod, web.dep) or any path in the mount.
NAME@VERSION is one version of it, NAME@1 the one before the current.
`

func runHelp(_ context.Context, inv *invocation) error {
	if len(inv.words) == 0 {
		printHelp(inv.stdout)
		return nil
	}
	c, rest, err := findCommand(inv.words)
	if err == nil && len(rest) == 0 {
		c.print(inv.stdout)
		return nil
	}
	if verbs := verbsOf(inv.words[0]); len(inv.words) == 1 && len(verbs) > 0 {
		printVerbs(inv.stdout, inv.words[0]+" ")
		return nil
	}
	if err == nil {
		err = wrongUsage("help: what is %q?", rest[0])
	}
	return err
}

func printHelp(w io.Writer) {
	fmt.Fprint(w, intro+"\n")
	printVerbs(w, "")
	fmt.Fprintf(w, "\n%s\nflags of every verb:\n", aboutNames)
	printOptions(w, globals)
	fmt.Fprintln(w, "\nexit codes:")
	printExits(w)
	fmt.Fprintln(w, "\nmore: kingpin help VERB")
}

// printVerbs prints each command whose name starts so, with its line of help.
func printVerbs(w io.Writer, prefix string) {
	width := 0
	for _, c := range commands() {
		if !c.hidden && strings.HasPrefix(c.name, prefix) {
			width = max(width, len(c.synopsis()))
		}
	}
	for _, c := range commands() {
		if !c.hidden && strings.HasPrefix(c.name, prefix) {
			fmt.Fprintf(w, "  %-*s  %s\n", width, c.synopsis(), c.brief)
		}
	}
}

// print is the help of one command.
func (c command) print(w io.Writer) {
	fmt.Fprintf(w, "kingpin %s\n\n%s\n", c.synopsis(), sentence(c.brief))
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.Trim(c.long, "\n"))
	}
	if len(c.flags) > 0 {
		fmt.Fprintln(w, "\nflags:")
		printOptions(w, c.flags)
	}
	if shared := c.options()[len(c.flags):]; len(shared) > 0 && !c.raw {
		fmt.Fprintln(w, "\nflags of every verb:")
		printOptions(w, shared)
	}
	if len(c.exits) > 0 {
		fmt.Fprintln(w, "\nexit codes:")
		printExits(w, c.exits...)
	}
}

func printOptions(w io.Writer, options []option) {
	width := 0
	for _, o := range options {
		if !o.hidden {
			width = max(width, len(o.spelling()))
		}
	}
	for _, o := range options {
		if !o.hidden {
			fmt.Fprintf(w, "  %-*s  %s\n", width, o.spelling(), o.explained())
		}
	}
}

// spelling is the flag as it is typed: -o, --output FORMAT.
func (o option) spelling() string {
	s := "    --" + o.name
	if o.short != "" {
		s = "-" + o.short + ", --" + o.name
	}
	if o.word != "" {
		s += " " + o.word
	}
	return s
}

// explained is what the flag does, with its default and where that may come from.
func (o option) explained() string {
	s := o.usage
	if value := o.defaultText(); value != "" {
		s += " (default " + value + ")"
	}
	if o.env != "" {
		s += " [$" + o.env + "]"
	}
	return s
}

func (o option) defaultText() string {
	switch v := o.value.(type) {
	case bool:
		if v {
			return "true"
		}
	case string:
		return v
	case []string:
		return strings.Join(v, ", ")
	case size:
		return v.String()
	case time.Duration:
		if v != 0 {
			return v.String()
		}
	}
	return ""
}

// printExits prints the meaning of some exit codes, or of all.
func printExits(w io.Writer, codes ...int) {
	for _, e := range exits {
		for _, code := range codes {
			if code == e.code {
				fmt.Fprintf(w, "  %d  %s\n", e.code, e.meaning)
			}
		}
		if len(codes) == 0 {
			fmt.Fprintf(w, "  %d  %s\n", e.code, e.meaning)
		}
	}
}

// sentence makes one of a line of help.
func sentence(s string) string {
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}
