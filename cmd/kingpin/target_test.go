package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

// TestEveryNameMayBeAPath: what the shell completes is what a verb understands.
func TestEveryNameMayBeAPath(t *testing.T) {
	top := t.TempDir()
	mount := filepath.Join(top, "mnt")
	for _, dir := range []string{"config", "serverset", "decider", "web.dep"} {
		if err := os.MkdirAll(filepath.Join(mount, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(top, "old") // as /var/config -> /var/kingpin/config
	if err := os.Symlink(filepath.Join(mount, "config"), old); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cwd, word, want string }{
		{"/", "config.a.b", "config/config.a.b"},
		{"/", "discovery.user.prod", "serverset/discovery.user.prod"},
		{"/", "web.dep", "dep/web.dep"},
		{"/", mount + "/config/config.a.b", "config/config.a.b"},
		{"/", mount + "/serverset/discovery.user.prod", "serverset/discovery.user.prod"},
		{"/", mount + "/decider/new_ranker", "decider/new_ranker"},
		{"/", mount + "/web.dep", "dep/web.dep"},
		{"/", mount + "/web.dep/config.a.b", "config/config.a.b"},
		{"/", mount + "/web.dep/base.dep", "dep/base.dep"},
		{"/", mount + "/web.dep/../config/config.a.b", "config/config.a.b"},
		{"/", old + "/config.a.b", "config/config.a.b"},
		{"/", "config/config.a.b", "config/config.a.b"},
		{"/", "decider/new_ranker", "decider/new_ranker"},
		{"/", "web.dep/", "dep/web.dep"},
		{mount, "config/config.a.b", "config/config.a.b"},
		{mount + "/config", "./config.a.b", "config/config.a.b"},
		{mount + "/config", "config/config.a.b", "config/config.a.b"},
		{mount + "/config", "../web.dep/discovery.user.prod", "serverset/discovery.user.prod"},
		{mount + "/decider", "new_ranker", "decider/new_ranker"},
		{top, "mnt/config/config.a.b", "config/config.a.b"},
		{top, "old/config.a.b", "config/config.a.b"},
		{"/", "config.a.b@1795299240.000000001", "config/config.a.b@1795299240.000000001"},
		{"/", mount + "/config/config.a.b@1", "config/config.a.b@1"},
	} {
		got, err := place{cwd: c.cwd, roots: []string{mount}}.target(c.word)
		said := got.dir + "/" + got.name
		if got.version != "" {
			said += "@" + got.version
		}
		if err != nil || said != c.want {
			t.Errorf("in %s, %s means %s (%v), want %s", c.cwd, c.word, said, err, c.want)
		}
	}
	for _, word := range []string{
		"", "new_ranker", "config.", "config..b", "/etc/passwd", mount, mount + "/config", mount + "/.status/pid",
		mount + "/serverset/config.a.b", mount + "/config/config.a.b/c", "../config.a.b", "config.a.b@", mount + "/decider/UP",
	} {
		if got, err := (place{cwd: "/", roots: []string{mount}}).target(word); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%q means %v, %v; it should mean nothing", word, got, err)
		}
	}
}
