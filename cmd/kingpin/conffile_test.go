package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheConfigurationFile(t *testing.T) {
	lines, err := parseConf("k.conf", strings.NewReader(`
# kingpin
dependency         = web.dep
zookeeper=zk1:2181,zk2:2181/kingpin#1   # a hash without a blank is a part of it
empty              =
[publish config.manageddata.spam.*]     # first match wins
group = spam-oncall
[serverset   discovery.*.dev]
	guard = off
`))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&got, "%s [%s] %q = %q\n", l.place(), l.section, l.key, l.value)
	}
	const want = `k.conf:3 [] "dependency" = "web.dep"
k.conf:4 [] "zookeeper" = "zk1:2181,zk2:2181/kingpin#1"
k.conf:5 [] "empty" = ""
k.conf:6 [publish config.manageddata.spam.*] "" = ""
k.conf:7 [publish config.manageddata.spam.*] "group" = "spam-oncall"
k.conf:8 [serverset discovery.*.dev] "" = ""
k.conf:9 [serverset discovery.*.dev] "guard" = "off"
`
	if got.String() != want {
		t.Errorf("read\n%s\nwant\n%s", got.String(), want)
	}
}

// FuzzConfigurationFile: whatever is in the file, it is read or refused with its place, and no line is read twice.
func FuzzConfigurationFile(f *testing.F) {
	for _, seed := range []string{"", "a = b", "[a b]\nc=d # e", "a", "[", "[]", "=", "# x", "a = b = c", "a\x00=\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseConf("f", strings.NewReader(text))
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("an error without its place: %v", err)
		}
		last := 0
		for _, l := range lines {
			if l.line <= last {
				t.Errorf("line %d after line %d", l.line, last)
			}
			last = l.line
			if strings.TrimSpace(l.key) != l.key || strings.TrimSpace(l.value) != l.value {
				t.Errorf("blanks around %q = %q", l.key, l.value)
			}
		}
	})
}
