package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// runReader does one thing with a file again and again until its standard input ends, and prints the longest it took, in
// microseconds.
func runReader(what string, args []string) error {
	end := make(chan struct{})
	go func() {
		os.Stdin.Read(make([]byte, 1))
		close(end)
	}()
	switch what {
	case "hold":
		return runHolder(args[0], end)
	case "publish":
		return runWriter(args[0], args[len(args)-1], end)
	case "members":
		return runMembers(args[0], end)
	}
	var longest time.Duration
	for count := 0; ; count++ {
		select {
		case <-end:
			fmt.Println(longest.Microseconds(), count)
			return nil
		default:
		}
		began := time.Now()
		var err error
		switch what {
		case "read":
			_, err = os.ReadFile(args[0])
		case "list":
			_, err = os.ReadDir(args[0])
		case "stat":
			_, err = os.Stat(args[0])
		case "cold": // a name that is not in the kernel's cache
			if _, err = os.Stat(fmt.Sprint(args[0], count)); os.IsNotExist(err) {
				err = nil
			}
		case "write":
			err = os.WriteFile(args[0], fmt.Append(nil, count), 0)
		case "open": // for writing, without writing
			var f *os.File
			if f, err = os.OpenFile(args[0], os.O_WRONLY, 0); err == nil {
				err = f.Close()
			}
		}
		if err != nil {
			return err
		}
		longest = max(longest, time.Since(began))
		<-time.After(time.Millisecond)
	}
}

// TestHeldPublicationHoldsNobodyElse: while a publication waits under a close, a rename, and the removal of a member, everything beside it
// goes on.
func TestHeldPublicationHoldsNobodyElse(t *testing.T) {
	m := start(t)
	const other, third, fourth = "config.manageddata.test.other", "config.manageddata.test.third", "config.manageddata.test.fourth"
	m.remote("config", other, "beside\n")
	m.remote("config", third, "third\n")
	m.remote("config", fourth, "fourth\n")
	m.order("/graph?dep=web.dep", aConfig+" "+other)
	m.wantSoon("web.dep/"+other, "beside\n")
	dir := m.watch(filepath.Dir(m.config()))
	beside := m.path("config/" + other)

	finish := map[string]func() string{}
	for name, args := range map[string][]string{
		"read":          {"read", beside},
		"read by link":  {"read", m.path("web.dep/" + other)},
		"stat":          {"stat", beside},
		"list":          {"list", filepath.Dir(beside)},
		"list members":  {"list", m.path("web.dep")},
		"cold":          {"cold", filepath.Dir(beside) + "/.none"},
		"open to write": {"open", beside},
		"write":         {"write", m.path("config/" + third)},
	} {
		finish[name] = m.load(args...)
	}

	releaseConfig, releaseMember := m.hold(aConfig), m.hold("web.dep")
	var gestures sync.WaitGroup
	var ended atomic.Int32
	scripts := []string{
		`echo closed > $f`,
		`echo renamed > $d/.tmp; mv $d/.tmp $f`,
		`rm $m/web.dep/` + aConfig,
	}
	for _, script := range scripts {
		gestures.Go(func() {
			out, err := m.shell(script)
			ended.Add(1)
			if err != nil {
				t.Errorf("%s: %v: %s", script, err, out)
			}
		})
	}
	m.held(len(scripts))
	list := func(dir string) func() error {
		return func() error { _, err := os.ReadDir(dir); return err }
	}
	for i := range 20 {
		m.remote("config", other, fmt.Sprint("beside ", i))
		for dir.next() != other { // an event beside
		}
		m.goesOn(map[string]func() error{
			"read":         func() error { _, err := os.ReadFile(beside); return err },
			"read by link": func() error { _, err := os.ReadFile(m.path("web.dep/" + other)); return err },
			"stat":         func() error { _, err := os.Stat(beside); return err },
			"list":         list(filepath.Dir(beside)),
			"list members": list(m.path("web.dep")),
			"cold":         func() error { m.read(fmt.Sprint("config/.nothing", i)); return nil },
			"open to write": func() error {
				file, err := os.OpenFile(beside, os.O_WRONLY, 0)
				return errors.Join(err, file.Close())
			},
			"write": func() error { return os.WriteFile(m.path("config/"+fourth), fmt.Append(nil, i), 0) },
		})
	}
	if n := ended.Load(); n > 0 {
		t.Errorf("%d did not wait for the outcome", n)
	}
	releaseConfig()
	releaseMember()
	gestures.Wait()
	for name, end := range finish {
		var longest, count int64
		fmt.Sscan(end(), &longest, &count)
		t.Logf("%-14s %6d times, at most %.1f ms", name, count, float64(longest)/1000)
	}
	if _, err := os.Lstat(m.path("web.dep/" + aConfig)); err == nil {
		t.Error("the member is still there")
	}
}
