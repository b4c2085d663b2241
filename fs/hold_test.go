package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
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

// TestHeldPublicationHoldsNobodyElse: while a publication waits five seconds under a close, a rename, and the removal of a member,
// everything beside it goes on.
func TestHeldPublicationHoldsNobodyElse(t *testing.T) {
	m := start(t)
	const other, third = "config.manageddata.test.other", "config.manageddata.test.third"
	m.remote("config", other, "beside\n")
	m.remote("config", third, "third\n")
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

	m.order("/hold?name="+aConfig, "5s")
	m.order("/hold?name=web.dep", "5s")
	var gestures sync.WaitGroup
	for _, script := range []string{
		`echo closed > $f`,
		`echo renamed > $d/.tmp; mv $d/.tmp $f`,
		`rm $m/web.dep/` + aConfig,
	} {
		gestures.Go(func() {
			began := time.Now()
			out, err := m.shell(script)
			if err != nil {
				t.Errorf("%s: %v: %s", script, err, out)
			}
			if took := time.Since(began); took < 5*time.Second {
				t.Errorf("%s did not wait for the outcome: %v", script, took)
			}
		})
	}
	var heard time.Duration // longest from a publication beside to its event
	stop := time.After(5 * time.Second)
	for i := 0; ; i++ {
		began := time.Now()
		m.remote("config", other, fmt.Sprint("beside ", i))
		for dir.next() != other {
		}
		heard = max(heard, time.Since(began))
		select {
		case <-stop:
		case <-time.After(50 * time.Millisecond):
			continue
		}
		break
	}
	gestures.Wait()
	for name, end := range finish {
		var longest, count int64
		fmt.Sscan(end(), &longest, &count)
		t.Logf("%-14s %6d times, at most %.1f ms", name, count, float64(longest)/1000)
		if longest > 4_500_000 { // held up would be five seconds; how long it may take is for the benchmark
			t.Errorf("%s was held up for %d µs", name, longest)
		}
	}
	t.Logf("event          at most %.1f ms after the publication", float64(heard.Microseconds())/1000)
	if heard > 4500*time.Millisecond {
		t.Errorf("an event beside was held up for %v", heard)
	}
	if _, err := os.Lstat(m.path("web.dep/" + aConfig)); err == nil {
		t.Error("the member is still there")
	}
}
