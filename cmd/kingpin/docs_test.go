package main

import (
	"bytes"
	"testing"
)

func TestThePageOfCommandsIsFresh(t *testing.T) {
	var page bytes.Buffer
	printDocs(&page)
	compareFile(t, "../../docs/cli.md", page.Bytes())
}

func TestEveryCommandExplainsItself(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands() {
		if seen[c.name] {
			t.Errorf("%s is there twice", c.name)
		}
		seen[c.name] = true
		if c.brief == "" || c.run == nil {
			t.Errorf("%s has no line of help, or does nothing", c.name)
		}
		if len(c.brief) > 75 {
			t.Errorf("%s: its line of help has %d bytes", c.name, len(c.brief))
		}
		for _, o := range c.options() {
			if o.usage == "" {
				t.Errorf("%s: --%s is not explained", c.name, o.name)
			}
			if _, boolean := o.value.(bool); !boolean && o.word == "" {
				t.Errorf("%s: --%s has no word for its value", c.name, o.name)
			}
		}
	}
}
