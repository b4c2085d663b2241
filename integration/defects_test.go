package integration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestX1NameOfAMemberIsNotRun: the old monitor put the names of members between quotes into a shell command, and escaped them in a way
// that shells do not know.
func TestX1NameOfAMemberIsNotRun(t *testing.T) {
	f := startFleet(t)
	f.quickGuard(t)
	m := f.machine(t)
	kingpin(t, m, "create", service)
	path := "/" + strings.ReplaceAll(service, ".", "/")
	for _, hostile := range []string{
		"u-10.0.0.1:80'; touch was-run #",
		"u-$(touch was-run):80",
		"63c5ebd0d4954b25a46cca9d04c2c70f-10.0.0.1:80;touch was-run",
		"63c5ebd0d4954b25a46cca9d04c2c70f-..:80",
		"u-10.0.0.1:80\\n10.6.6.6:80",
	} {
		f.asOld(t, "create", path+"/"+hostile)
	}
	f.register(t, "10.0.0.7:8081")
	eventually(t, "the member alone is there", func() bool { return m.shows("serverset/"+service, "10.0.0.7:8081\n") })
	for _, dir := range []string{".", "/", m.State, f.dir} {
		if _, err := os.Lstat(filepath.Join(dir, "was-run")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the name of a member was run, in %s: %v", dir, err)
		}
	}
	if n := strings.Count(m.Log(), "ignored what does not belong there"); n != 5 {
		t.Errorf("%d lines about five nodes that are no members", n)
	}
}

// TestO4NobodyKillsHimself: to take in a changed subscription the old monitor sent itself SIGKILL, and about twice a day it did so for
// no reason at all.
func TestO4NobodyKillsHimself(t *testing.T) {
	f := startFleet(t)
	m := f.machine(t)
	before, err := m.Server()
	if err != nil {
		t.Fatal(err)
	}
	kingpin(t, m, "dep", "create", "more.dep")
	kingpin(t, m, "dep", "add", webDep, "more.dep")
	kingpin(t, m, "create", "config.api.limits", "--dep", "more.dep")
	eventually(t, "a name of a new dependency is here", func() bool { return m.shows("config/config.api.limits", "") })
	kingpin(t, m, "dep", "rm", webDep, "more.dep")
	f.zk.Kill()
	if err := f.zk.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the monitor is connected again", func() bool { return result(t, m.Command(t.Context(), "dep", "ls", "--all")).code == 0 })
	if now, err := m.Server(); err != nil || now != before {
		t.Errorf("the server was %d and is %d (%v)", before, now, err)
	}
	if status := kingpin(t, m, "status"); !strings.Contains(status, "0 restarts") {
		t.Errorf("kingpin status says\n%s", status)
	}
}

// TestX4NamesInTmpAreNobodysGuess: the old downloader wrote what it fetched to a name in /tmp that anybody could foretell, and follow to
// wherever a link of that name led.
func TestX4NamesInTmpAreNobodysGuess(t *testing.T) {
	f := startFleet(t)
	f.direct(t, "create", "config.api.limits", "--dep", webDep)
	victim := filepath.Join(f.dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	content := filepath.Join(f.dir, "content")
	if err := os.WriteFile(content, []byte("limits"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.direct(t, "put", "config.api.limits", content)
	target := filepath.Join(f.dir, "downloaded")
	bait := filepath.Join(os.TempDir(), strings.ReplaceAll(target, "/", "_"))
	if err := os.Symlink(victim, bait); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(bait) })
	cmd := f.machine(t).Command(t.Context(), "download", "config.api.limits", target, "--config", f.conf)
	if o := result(t, cmd); o.code != 0 {
		t.Fatalf("download: %v", o)
	}
	if got := read(t, target); got != "limits" {
		t.Errorf("downloaded %q", got)
	}
	if got := read(t, victim); got != "precious" {
		t.Errorf("what the link in %s led to is %q", os.TempDir(), got)
	}
}

// TestDefectsPageIsTrue: every test that the page about the old system's faults names is there.
func TestDefectsPageIsTrue(t *testing.T) {
	named := regexp.MustCompile("`(Test[A-Z]\\w+)`").FindAllStringSubmatch(read(t, filepath.Join(repository(t), "docs/defects.md")), -1)
	if len(named) < 18 {
		t.Fatalf("the page names %d tests", len(named))
	}
	var tests strings.Builder
	err := filepath.WalkDir(repository(t), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			tests.WriteString(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range named {
		if !strings.Contains(tests.String(), "\nfunc "+name[1]+"(t *testing.T)") {
			t.Errorf("there is no %s", name[1])
		}
	}
}
