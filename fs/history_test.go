package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// file is one that outlives the server.
func (p *publisher) file(name string) string { return filepath.Join(p.state, name) }

// addPast gives the fleet a version that this machine never had.
func (p *publisher) addPast(name, version string, body []byte) error {
	return os.WriteFile(p.file("past-"+name+"@"+version), body, 0o644)
}

// asks is what a question to the network comes to; each is counted.
func (p *publisher) asks(ctx context.Context, what string) error {
	log, err := os.OpenFile(p.file("asked"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintln(log, what)
	if err := p.wait(ctx, "history"); err != nil {
		return err
	}
	return p.writable()
}

func (p *publisher) versionsHere(name registry.Name) []Past {
	file := disk.File{Kind: registry.Config, Name: string(name)}
	entries := p.store.SupersededOf(file)
	if e, ok := p.store.Current(file); ok {
		entries = append(entries, e)
	}
	var all []Past
	for _, e := range slices.Backward(entries) {
		all = append(all, Past{Version: e.Version, Published: e.Published, Size: e.Size})
	}
	return all
}

func (p *publisher) history(ctx context.Context, name registry.Name) ([]Past, error) {
	here := p.versionsHere(name)
	if err := p.asks(ctx, "history"); err != nil {
		return here, err
	}
	old, _ := filepath.Glob(p.file("past-" + string(name) + "@*"))
	for _, path := range slices.Backward(old) {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		_, v, _ := strings.Cut(path, "@")
		here = append(here, Past{Version: registry.Version(v), Size: info.Size()})
	}
	return here, nil
}

func (p *publisher) about(ctx context.Context, name registry.Name, v registry.Version) (Past, error) {
	if err := p.asks(ctx, "about"); err != nil {
		return Past{}, err
	}
	past, _, err := p.past(name, v)
	return past, err
}

func (p *publisher) version(ctx context.Context, name registry.Name, v registry.Version) (Past, []byte, error) {
	of := disk.File{Kind: registry.Config, Name: string(name)}
	current, _ := p.store.Current(of)
	for _, e := range append(p.store.SupersededOf(of), current) {
		if e.Version == v {
			file, err := p.store.OpenBody(e.Stamp)
			if err != nil {
				return Past{}, nil, err
			}
			defer file.Close()
			data := make([]byte, e.Size)
			_, err = file.Read(data)
			return Past{Version: v, Size: e.Size, Author: e.Author, SHA256: e.SHA256}, data, err
		}
	}
	if err := p.asks(ctx, "version"); err != nil {
		return Past{}, nil, err
	}
	return p.past(name, v)
}

func (p *publisher) past(name registry.Name, v registry.Version) (Past, []byte, error) {
	for _, here := range p.versionsHere(name) {
		if here.Version == v {
			return here, nil, nil
		}
	}
	body, err := os.ReadFile(p.file("past-" + string(name) + "@" + string(v)))
	if errors.Is(err, os.ErrNotExist) {
		return Past{}, nil, registry.ErrNotExist
	}
	return Past{
		Version: v, Size: int64(len(body)), Author: "old@there", Message: "long ago", SHA256: registry.Sum(body), Replaces: "1400000000.5",
	}, body, err
}

func (p *publisher) previous(ctx context.Context, name registry.Name, v registry.Version) (registry.Version, error) {
	if err := p.asks(ctx, "previous"); err != nil {
		return "", err
	}
	if here := p.versionsHere(name); len(here) > 1 {
		return here[1].Version, nil
	}
	return "", registry.ErrNotExist
}

// asked counts the questions of one kind to the network.
func (m *machine) asked(what string) int {
	data, _ := os.ReadFile(filepath.Join(m.state, "asked"))
	return strings.Count(string(data), what+"\n")
}

func (m *machine) xattr(path, name string) string {
	m.t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(path, "user.kingpin."+name, buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

const aPast registry.Version = "1500000000.123456789"

func (m *machine) withPast() string {
	m.t.Helper()
	m.order("/past?name="+aConfig+"&version="+string(aPast), "long ago\n")
	return m.path(".history/" + aConfig + "/" + string(aPast))
}

func TestHistoryIsFiles(t *testing.T) {
	m := start(t)
	old := m.withPast()
	first := m.version("config/" + aConfig)
	if out, err := m.shell(`echo second > $f`); err != nil {
		t.Fatal(out, err)
	}
	second := m.version("config/" + aConfig)
	dir := m.path(".history/" + aConfig)

	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{string(aPast), first, second, previousName}; err != nil || !slices.Equal(names, want) {
		t.Errorf("history holds %q, %v, want %q", names, err, want)
	}
	info, err := os.Stat(old)
	if err != nil || info.Size() != 9 || !info.ModTime().Equal(time.Unix(1500000000, 123456789)) || info.Mode() != 0o444 {
		t.Errorf("the old version: %v, %v", info, err)
	}
	if out, err := m.shell(`ls -l $m/.history/` + aConfig); err != nil {
		t.Error(out, err)
	}
	if n := m.asked("version"); n != 0 {
		t.Errorf("ls fetched %d bodies", n)
	}
	for _, c := range []struct{ name, want string }{{string(aPast), "long ago\n"}, {first, "first\n"}, {second, "second\n"}, {previousName, "first\n"}} {
		for range 2 {
			if got := m.read(".history/" + aConfig + "/" + c.name); got != c.want {
				t.Errorf("%s holds %q, want %q", c.name, got, c.want)
			}
		}
	}
	if n := m.asked("version"); n != 1 {
		t.Errorf("%d bodies were fetched, want 1: that which is not here", n)
	}
	if out, err := m.shell(`ls -a $m | grep -c '^\.h'; grep -r long $m; getfattr -d ` + old); !strings.HasPrefix(out, "0\n") ||
		!strings.Contains(out, `user.kingpin.author="old@there"`) || !strings.Contains(out, `user.kingpin.message="long ago"`) {
		t.Errorf("%s, %v", out, err)
	}
	if got := m.xattr(old, "version") + " " + m.xattr(old, "replaces"); got != string(aPast)+" 1400000000.5" {
		t.Error(got)
	}
	for _, gone := range []string{"1500000000.1", "none", "..."} {
		if _, err := os.Stat(dir + "/" + gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", gone, err)
		}
	}
	if _, err := os.Stat(m.path(".history/config.manageddata.test.none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, gesture := range []string{`echo x > `, `rm `, `chmod 600 `, `mv /dev/null `} {
		if out, err := m.shell(gesture + old); err == nil {
			t.Errorf("%s changed history: %s", gesture, out)
		}
	}
	if out, err := m.shell(`mkdir $m/.history/x || echo x > $m/.history/x`); err == nil {
		t.Error(out)
	}
}

func TestCopyingAVersionBackRollsBack(t *testing.T) {
	m := start(t)
	if out, err := m.shell(`echo second > $f && diff $m/.history/*/previous $f`); err == nil || !strings.Contains(out, "> second") {
		t.Error(out, err)
	}
	before := m.version("config/" + aConfig)
	if out, err := m.shell(`cp $m/.history/*/previous $f`); err != nil {
		t.Error(out, err)
	}
	m.want("config/"+aConfig, "first\n")
	if after := m.version("config/" + aConfig); after <= before {
		t.Errorf("version %s after %s", after, before)
	}
	m.want(".history/"+aConfig+"/previous", "second\n")
}

// The network is asked by who wants to know, and nobody else waits.
func TestHistoryHoldsNobodyElse(t *testing.T) {
	m := start(t)
	old := m.withPast()
	if _, err := os.Stat(old); err != nil {
		t.Fatal(err)
	}
	release := m.hold("history")
	ended := make(chan []string, 3)
	for _, args := range [][]string{{"cat", old}, {"ls", filepath.Dir(old)}, {"stat", old + "1"}} {
		cmd := exec.Command(args[0], args[1:]...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			cmd.Wait()
			ended <- args
		}()
	}
	eventually(t, "they ask", func() bool { return m.asked("version")+m.asked("history")+m.asked("about") >= 1+cap(ended) })
	list := func(dir string) func() error {
		return func() error { _, err := os.ReadDir(dir); return err }
	}
	for i := range 10 {
		m.goesOn(map[string]func() error{
			"read":  func() error { _, err := os.ReadFile(m.config()); return err },
			"list":  list(filepath.Dir(m.config())),
			"root":  list(m.mount),
			"cold":  func() error { m.read(fmt.Sprint("config/.none", i)); return nil },
			"write": func() error { return os.WriteFile(m.config(), fmt.Append(nil, i), 0) },
			"past":  list(m.path(".history")),
		})
	}
	select {
	case args := <-ended:
		t.Errorf("%q did not wait for the answer", args)
		ended <- args
	default:
	}
	release()
	for range cap(ended) {
		<-ended
	}

	m.order("/hold?name=history", "1h")
	m.order("/past?name="+aConfig+"&version=1500000000.5", "another\n")
	cmd := exec.Command("cat", m.path(".history/"+aConfig+"/1500000000.5"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it asks", func() bool { return m.asked("about") >= 3 })
	cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Error("Ctrl-C:", err)
	}
}

func TestHistoryWithTheNetworkAway(t *testing.T) {
	m := start(t)
	m.withPast()
	first := m.version("config/" + aConfig)
	if out, err := m.shell(`echo second > $f`); err != nil {
		t.Fatal(out, err)
	}
	m.order("/down", "yes")
	if got := m.read(".history/" + aConfig + "/" + first); got != "first\n" {
		t.Error(got)
	}
	if got, err := m.shell(`ls $m/.history/*`); err != nil || !strings.HasPrefix(got, first) {
		t.Error(got, err)
	}
	if _, err := os.ReadFile(m.path(".history/" + aConfig + "/" + string(aPast))); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Error(err)
	}
	m.order("/down", "no")
	m.want(".history/"+aConfig+"/"+string(aPast), "long ago\n")
	m.order("/down", "yes")
	m.killServer()
	m.want(".history/"+aConfig+"/"+string(aPast), "long ago\n") // it was fetched, and is kept
}

// An open file of history, a directory that somebody stands in and what the kernel remembers of names outlive the server.
func TestHistoryOutlivesTheServer(t *testing.T) {
	m := start(t)
	old := m.withPast()
	m.order("/past?name="+aConfig+"&version=1500000001.5", "not opened yet\n")
	open, err := os.Open(old)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	dir, err := os.Open(filepath.Dir(old))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := os.Stat(filepath.Dir(old) + "/1500000001.5"); err != nil { // the kernel remembers it for ever
		t.Fatal(err)
	}
	for range 3 {
		m.killServer()
		if err := unix.Fadvise(int(open.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 20)
		if n, err := unix.Pread(int(open.Fd()), buf, 0); err != nil || string(buf[:n]) != "long ago\n" {
			t.Errorf("an open file reads %q, %v", buf[:n], err)
		}
		if info, err := open.Stat(); err != nil || info.Size() != 9 {
			t.Error(info, err)
		}
		fd, err := unix.Openat(int(dir.Fd()), previousName+"x", unix.O_RDONLY, 0)
		if err != unix.ENOENT {
			t.Errorf("a directory that was open: %d, %v", fd, err)
		}
		if _, err := dir.Stat(); err != nil {
			t.Error(err)
		}
		m.want(".history/"+aConfig+"/1500000001.5", "not opened yet\n")
		m.want(".history/"+aConfig+"/"+string(aPast), "long ago\n")
	}
	if n := m.asked("version"); n != 2 {
		t.Errorf("%d bodies were fetched, want 2", n)
	}
}
