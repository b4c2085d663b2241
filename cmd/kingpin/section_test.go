package main

import (
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

func resolveText(t *testing.T, text string, args ...string) (resolved, error) {
	t.Helper()
	lines, err := parseConf("k.conf", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	flags := flagSet(monitorFlags())
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return resolve(flags, lines, func(string) (string, bool) { return "", false })
}

// TestSections: the first that matches counts, whatever it leaves out is the default, and another process gets the same.
func TestSections(t *testing.T) {
	const conf = `
dependency = web.dep
[serverset discovery.*.dev]
guard = off
[serverset discovery.big.*]
guard-min-ratio = 0.8
guard-damping = 30s
[serverset *]
guard-release = 1h
[serverset discovery.big.*]
guard-min-members = 100
`
	r, err := resolveText(t, conf)
	if err != nil {
		t.Fatal(err)
	}
	handed, err := resolveText(t, "", r.flags()...)
	if err != nil {
		t.Fatal(err)
	}
	usual := mirror.DefaultGuard()
	off, big, rest := usual, usual, usual
	off.Off, big.MinRatio, big.Damping, big.MinMembers, rest.Release = true, 0.8, 30*time.Second, 100, time.Hour
	for name, want := range map[registry.Name]mirror.GuardRules{
		"discovery.user.dev":    off,
		"discovery.big.dev":     off,
		"discovery.big.prod":    big,
		"discovery.big.eu.prod": big,
		"discovery.user.prod":   rest,
	} {
		if got := r.guard()(name); got != want {
			t.Errorf("%s has %+v, want %+v", name, got, want)
		}
		if got := handed.guard()(name); got != want {
			t.Errorf("%s has %+v in the server, want %+v", name, got, want)
		}
	}
	if none, err := resolveText(t, ""); err != nil || none.guard()("discovery.user.prod") != usual {
		t.Errorf("without a section: %+v (%v)", none.guard()("discovery.user.prod"), err)
	}
	var printed strings.Builder
	r.print(&printed)
	const want = `[serverset discovery.*.dev]
guard = off  # k.conf:4
[serverset discovery.big.*]
guard-min-ratio = 0.8    # k.conf:6
guard-min-members = 100  # k.conf:11
guard-damping = 30s      # k.conf:7
[serverset *]
guard-release = 1h0m0s  # k.conf:9
`
	if got := printed.String(); !strings.HasSuffix(got, want) {
		t.Errorf("printed\n%s\nwant at its end\n%s", got, want)
	}
	if list := r.all(); list[len(list)-1] != (setValue{Key: "[serverset *] guard-release", Value: "1h0m0s", Source: "k.conf:9"}) {
		t.Errorf("the last value is %+v", list[len(list)-1])
	}
}

func TestSectionsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"[server x]":                                      `k.conf:1: unknown section [server x]`,
		"[serverset]":                                     `k.conf:1: section [serverset]: "" is no pattern`,
		"[serverset a b]":                                 `k.conf:1: section [serverset a b]: "a b" is no pattern`,
		"[serverset [x]":                                  `k.conf:1: section [serverset [x]: "[x" is no pattern`,
		"[serverset *]\nguard-min-ration = 0.5":           `k.conf:2: unknown key "guard-min-ration" in section [serverset *], nearest: guard-min-ratio`,
		"[serverset *]\ndependency = web.dep":             `k.conf:2: unknown key "dependency" in section [serverset *]`,
		"[serverset *]\nguard = perhaps":                  `k.conf:2: guard: "perhaps"`,
		"[serverset *]\nguard-min-ratio = 1.5":            `k.conf:2: guard-min-ratio 1.5 is not from 0 to 1`,
		"[serverset *]\nguard-min-ratio = NaN":            `k.conf:2: guard-min-ratio NaN`,
		"[serverset *]\nguard-min-members = 0":            `k.conf:2: guard-min-members 0`,
		"[serverset *]\nguard-release = -1s":              `k.conf:2: guard-release -1s`,
		"[serverset *]\nguard-damping = 10":               `k.conf:2: guard-damping: "10"`,
		"[serverset *]\nguard = on\n[publish x]\ng = ann": `k.conf:3: unknown section [publish x]`,
	} {
		if _, err := resolveText(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
