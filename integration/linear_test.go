package integration

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLinearizable: eight writers on three machines of a fleet, each with all the gestures there are. The publishes of each name are in
// one order, which everybody sees: what was acknowledged is there, what was refused never is, who changes something changes what he has
// read. Reads on a machine never go back, and have what that machine has acknowledged.
func TestLinearizable(t *testing.T) {
	publishAtOnce(t, 20*time.Second, 0)
}

// rivals is eight writers, and readers on all machines.
type rivals struct {
	*fleet
	machines []*Monitor
	names    []string
	began    time.Time

	mu        sync.Mutex
	published []publish
	seen      []sight
}

// sight is what a reader saw.
type sight struct {
	machine       int
	name          string
	content       string
	version       string
	opened, ended time.Duration
}

const rivalWriters, rivalMachines, rivalNames = 8, 3, 3

// publishAtOnce lets the rivals go for some time. Every so often, if that is not 0, the server of the last machine's mount is killed.
func publishAtOnce(t *testing.T, lasting, killEvery time.Duration) {
	c := startRivals(t)
	over := make(chan struct{})
	var writers, others sync.WaitGroup
	defer others.Wait()
	for w := range rivalWriters {
		writers.Go(func() { c.write(t, w, over) })
	}
	calm := make(chan struct{})
	for m := range rivalMachines {
		others.Go(func() { c.read(t, m, calm) })
	}
	kills := 0
	if killEvery > 0 {
		others.Go(func() { kills = c.kill(t, c.machines[rivalMachines-1], killEvery, over) })
	}
	passes(t, lasting)
	close(over)
	writers.Wait()
	close(calm)
	others.Wait()
	c.lookAround(t)
	bodies := c.bodies(t)
	c.know(t, bodies)
	c.checkReads(t, bodies)
	for m := range c.machines {
		t.Logf("machine %d: %s", m, c.tell(m))
	}
	t.Logf("%d reads, %d kills", len(c.seen), kills)
	if err := linearizable(c.published, time.Minute); err != nil {
		t.Error(err)
	}
}

func startRivals(t *testing.T) *rivals {
	t.Helper()
	c := &rivals{fleet: startFleet(t), began: time.Now()}
	for range rivalMachines {
		c.machines = append(c.machines, c.machine(t))
	}
	for n := range rivalNames {
		name := fmt.Sprintf("config.manageddata.rivals.n%d", n)
		c.names = append(c.names, name)
		kingpin(t, c.machines[0], "create", name)
		for _, m := range c.machines {
			eventually(t, name+" is everywhere", func() bool { return m.shows("config/"+name, "") })
		}
	}
	return c
}

func (c *rivals) now() time.Duration { return time.Since(c.began) }

// write makes one gesture after the other.
func (c *rivals) write(t *testing.T, w int, over <-chan struct{}) {
	const most = 700 // bytes; above 1 KB a short content would look like an accident
	machine := w % rivalMachines
	m := c.machines[machine]
	for n := 0; ; n++ {
		select {
		case <-over:
			return
		default:
		}
		p := publish{writer: w, machine: machine, name: c.names[rand.IntN(len(c.names))], gesture: "write", value: fmt.Sprintf("w%d.%d;", w, n)}
		path := m.Path("config", p.name)
		info, err := os.Stat(path)
		if err != nil {
			t.Errorf("writer %d: %v", w, err)
			return
		}
		gestures := []func(string, *publish) error{cutAndWrite, renameOver, change, m.put, m.putOver, addTo, addTo}
		if info.Size() > most {
			gestures = gestures[:2]
		}
		p.called = c.now()
		err = gestures[rand.IntN(len(gestures))](path, &p)
		p.returned = c.now()
		if p.came = cameOf(err); p.came == "" {
			t.Errorf("%v: %v", p, err)
			return
		}
		c.mu.Lock()
		c.published = append(c.published, p)
		c.mu.Unlock()
	}
}

// tell is what came of the publishes on a machine.
func (c *rivals) tell(machine int) string {
	count := map[string]int{}
	var longest time.Duration
	for _, p := range c.published {
		if p.machine == machine && p.gesture != "look" {
			count[p.came]++
			longest = max(longest, p.returned-p.called)
		}
	}
	return fmt.Sprintf("%v, the longest took %v", count, longest.Round(time.Millisecond))
}

// cameOf is what an error says of a publish.
func cameOf(err error) string {
	var exit *exec.ExitError
	var rename *os.LinkError
	switch {
	case err == nil:
		return acknowledged
	case errors.Is(err, syscall.ESTALE), errors.As(err, &exit) && exit.ExitCode() == 5:
		return lost
	case errors.As(err, &rename) && errors.Is(err, syscall.ENOENT): // its server died, before the rename or after it
		return unknown
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ECONNABORTED), errors.As(err, &exit) && (exit.ExitCode() == 8 || exit.ExitCode() == 6):
		return unknown
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ETIMEDOUT):
		return refused
	}
	return ""
}

func cutAndWrite(path string, p *publish) error { return os.WriteFile(path, []byte(p.value), 0) }

func renameOver(path string, p *publish) error {
	temporary := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.w%d", p.name, p.writer))
	if err := os.WriteFile(temporary, []byte(p.value), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

func addTo(path string, p *publish) error {
	p.gesture = "append"
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(p.value)
	return errors.Join(err, file.Close())
}

// change replaces what it has read, all of it, without cutting the file first.
func change(path string, p *publish) error {
	p.gesture = "change"
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	base, err := io.ReadAll(file)
	p.base = string(base)
	if err == nil {
		_, err = file.WriteAt([]byte(p.value), 0)
	}
	if err == nil {
		err = file.Truncate(int64(len(p.value)))
	}
	return errors.Join(err, file.Close())
}

func (m *Monitor) put(_ string, p *publish) error { return m.runPut(p) }

// putOver is change by kingpin put --base.
func (m *Monitor) putOver(path string, p *publish) error {
	p.gesture = "change"
	content, version, err := readVersion(path)
	if err != nil {
		return err
	}
	p.base = content
	return m.runPut(p, "--base", version)
}

func (m *Monitor) runPut(p *publish, flags ...string) error {
	cmd := exec.Command(m.binary, append([]string{"put", "-q", p.name, "-"}, flags...)...)
	var said strings.Builder
	cmd.Env, cmd.Stdin, cmd.Stderr = m.env, strings.NewReader(p.value), &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

// readVersion is the content of a file and the version that it is, of one open.
func readVersion(path string) (content, version string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return "", "", err
	}
	value := make([]byte, 64)
	n, err := unix.Fgetxattr(int(file.Fd()), "user.kingpin.version", value)
	if err != nil {
		return "", "", fmt.Errorf("the version of %s: %w", path, err)
	}
	return string(data), string(value[:n]), nil
}

// read reads all names on a machine again and again.
func (c *rivals) read(t *testing.T, machine int, over <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		for _, name := range c.names {
			s := sight{machine: machine, name: name, opened: c.now()}
			var err error
			if s.content, s.version, err = readVersion(c.machines[machine].Path("config", name)); err != nil {
				t.Errorf("a read on machine %d: %v", machine, err)
				return
			}
			s.ended = c.now()
			c.mu.Lock()
			c.seen = append(c.seen, s)
			c.mu.Unlock()
		}
	}
}

// kill kills the server of a mount again and again.
func (c *rivals) kill(t *testing.T, m *Monitor, every time.Duration, over <-chan struct{}) (kills int) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return kills
		case <-tick.C:
		}
		pid, err := m.Server()
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Errorf("kill the server: %v", err)
			return kills
		}
		kills++
	}
}

// lookAround waits until all machines agree, and notes what they show as the last that anybody does.
func (c *rivals) lookAround(t *testing.T) {
	t.Helper()
	for _, name := range c.names {
		content, first := "", c.machines[0].Path("config", name)
		for _, m := range c.machines {
			eventually(t, "the machines agree on "+name, func() bool {
				content = read(t, first)
				return m.shows("config/"+name, content)
			})
		}
		now := c.now() + publishLimit // after whatever may still happen
		c.published = append(c.published, publish{name: name, gesture: "look", value: content, called: now, returned: now + 1, came: acknowledged})
	}
}

// bodies are the versions of all contents that have come to S3, by name.
func (c *rivals) bodies(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, name := range c.names {
		all[name] = map[string]string{"": ""}
		files, err := filepath.Glob(c.s3.Object("data/"+strings.ReplaceAll(name, ".", "/")) + "_*/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			_, second, _ := strings.Cut(filepath.Base(filepath.Dir(file)), "_")
			version, content := second+"."+filepath.Base(file), read(t, file)
			all[name][content] = max(version, all[name][content]) // who lost a race has put it once more
		}
	}
	return all
}

// know finds out what the appends have made, and that all that was acknowledged is in S3.
func (c *rivals) know(t *testing.T, bodies map[string]map[string]string) {
	t.Helper()
	for i, p := range c.published {
		switch {
		case p.gesture == "append" && p.came != refused && p.came != lost:
			for content, version := range bodies[p.name] {
				if strings.HasSuffix(content, p.value) && version > bodies[p.name][p.made] {
					p.made = content // the last of its tries
				}
			}
			if p.came == acknowledged {
				c.published[i].made = p.made
			}
		case p.gesture != "look" && p.came == acknowledged:
			p.made = p.value
		}
		if p.came == unknown && p.made == "" && bodies[p.name][p.value] == "" {
			c.published[i].came = refused // it did not come to S3, and that is where it begins
		}
		if p.came == acknowledged && bodies[p.name][p.made] == "" && p.gesture != "look" {
			t.Errorf("it is not in S3: %v", p)
		}
	}
}

// checkReads: reads on a machine never go back, have what was acknowledged there, and never what was refused.
func (c *rivals) checkReads(t *testing.T, bodies map[string]map[string]string) {
	t.Helper()
	gone := map[string]publish{} // by what was written in vain
	for _, p := range c.published {
		if p.came == refused || p.came == lost {
			gone[p.value] = p
		}
	}
	last := map[[2]string]sight{}
	slices.SortStableFunc(c.seen, func(a, b sight) int { return int(a.ended - b.ended) })
	for _, s := range c.seen {
		key := [2]string{fmt.Sprint(s.machine), s.name}
		if before := last[key]; s.version < before.version {
			t.Errorf("machine %d showed %s of %s at %v, and %s at %v", s.machine, before.version, s.name, before.ended, s.version, s.ended)
		}
		last[key] = s
		for value := range strings.SplitAfterSeq(s.content, ";") {
			if p, ok := gone[value]; ok {
				t.Errorf("machine %d showed what was written in vain: %v", s.machine, p)
			}
		}
	}
	for _, p := range c.published {
		if p.came != acknowledged || p.gesture == "look" {
			continue
		}
		made := p.made
		if p.gesture != "append" {
			made = p.value
		}
		i := slices.IndexFunc(c.seen, func(s sight) bool {
			return s.machine == p.machine && s.name == p.name && s.opened > p.returned && s.version < bodies[p.name][made]
		})
		if i >= 0 {
			t.Errorf("machine %d showed %s at %v, older than what it had acknowledged as %s: %v",
				p.machine, c.seen[i].version, c.seen[i].ended, bodies[p.name][made], p)
		}
	}
}
