package main

import (
	"context"
	"fmt"
	"io"
	"strings"
)

func runDocs(_ context.Context, inv *invocation) error {
	printDocs(inv.stdout)
	return nil
}

// printDocs writes docs/cli.md, the page of commands.
func printDocs(w io.Writer) {
	fmt.Fprintln(w, "<!-- Made by `kingpin __docs` from the table of commands; a test compares. Do not edit. -->")
	fmt.Fprintln(w, "\n# The command line")
	fmt.Fprintf(w, "\n    kingpin VERB NAME\n\n%s", aboutNames)
	fmt.Fprintln(w, "\nReads and writes go through the files of the mount, with the rights of whoever calls. What is not a file gesture goes\n"+
		"through the monitor's control socket, which is open to root and to the group of `--publish-group`.\n"+
		"Data goes to stdout and words to stderr. There is no colour and no question unless at a terminal.")
	fmt.Fprintln(w, "\n| command | |\n| --- | --- |")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(w, "| [`%s`](#%s) | %s |\n", escape(c.synopsis()), anchor(c.name), c.brief)
		}
	}
	fmt.Fprintln(w, "\n## Flags of every verb")
	docOptions(w, globals)
	fmt.Fprintf(w, "\n`--direct`, a flag of %s, goes to ZooKeeper and S3 where there is no monitor. It takes the flags\n"+
		"of `kingpin monitor` that say where they are, its configuration file and its environment.\n", strings.Join(directVerbs(), ", "))
	fmt.Fprintln(w, "\n## Exit codes\n\n| code | meaning |\n| --- | --- |")
	for _, e := range exits {
		fmt.Fprintf(w, "| %d | %s |\n", e.code, e.meaning)
	}
	fmt.Fprintln(w, "\nWhat the mount says by errno, and what it means:\n\n| errno | exit code | meaning |\n| --- | --- | --- |")
	for _, f := range failures {
		if f.inMount {
			fmt.Fprintf(w, "| %s | %d | %s |\n", errnoName(f.errno), f.code, f.err)
		}
	}
	for _, c := range commands() {
		if !c.hidden {
			c.document(w)
		}
	}
}

// directVerbs are those that can do without a monitor.
func directVerbs() []string {
	var verbs []string
	for _, c := range commands() {
		if c.direct {
			verbs = append(verbs, "`"+c.name+"`")
		}
	}
	return verbs
}

func (c command) document(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n    kingpin %s\n\n%s\n", c.name, c.synopsis(), sentence(c.brief))
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.Trim(c.long, "\n"))
	}
	if len(c.flags) > 0 {
		docOptions(w, c.flags)
	}
}

func docOptions(w io.Writer, options []option) {
	fmt.Fprintln(w, "\n| flag | |\n| --- | --- |")
	for _, o := range options {
		if !o.hidden {
			fmt.Fprintf(w, "| `%s` | %s |\n", escape(strings.TrimSpace(o.spelling())), escape(o.explained()))
		}
	}
}

// escape keeps a bar from ending the cell of a table.
func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// anchor of a heading.
func anchor(heading string) string { return strings.ReplaceAll(heading, " ", "-") }
