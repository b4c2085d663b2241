package mirror

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// Promise 7: whatever happens in whatever order, when it is over every machine has what is published and follows what it is told to.
func TestEveryMachineConverges(t *testing.T) {
	seeds := uint64(3)
	if os.Getenv("KINGPIN_SOAK") != "" {
		seeds = 500
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				c := &chaos{world: w, random: rand.New(rand.NewPCG(seed, 1))}
				c.begin()
				for range 120 {
					c.step()
				}
				c.calmDown()
				for _, m := range c.machines {
					c.compare(m)
				}
			})
		})
	}
}

// chaos does things to a world.
type chaos struct {
	*world
	random   *rand.Rand
	names    []registry.Name
	deps     []registry.Dependency
	machines map[string]*machine
	mend     map[string]func()
	leave    []func()
	serial   int
}

func (c *chaos) begin() {
	c.deps = []registry.Dependency{web, api, registry.BaseDependency}
	for i := range 6 {
		c.names = append(c.names, registry.Name(fmt.Sprintf("config.manageddata.chaos.n%d", i)))
	}
	c.make(web, c.names[:2]...)
	c.make(api, c.names[2:4]...)
	c.make(registry.BaseDependency, c.names[4:]...)
	c.make(web, user)
	c.machines, c.mend = map[string]*machine{}, map[string]func(){}
	for _, name := range []string{"a", "b"} {
		c.machines[name] = c.boot(name, follows(web))
	}
}

func (c *chaos) content() string {
	c.serial++
	return fmt.Sprint("content ", c.serial)
}

func (c *chaos) step() {
	names := slices.Sorted(maps.Keys(c.machines))
	which := names[c.random.IntN(len(names))]
	m := c.machines[which]
	name := c.names[c.random.IntN(len(c.names))]
	dep := c.deps[c.random.IntN(len(c.deps))]
	switch c.random.IntN(12) {
	case 0, 1:
		c.put(name, c.content())
	case 2, 3:
		_, _ = m.Publish(c.Context(), write(name, c.content())) // it may be cut off
	case 4:
		c.change(c.reg.Link(c.Context(), dep, registry.Edge(name)))
	case 5:
		c.change(c.reg.Unlink(c.Context(), dep, registry.Edge(name)))
	case 6:
		c.change(c.reg.Link(c.Context(), web, registry.Edge(api)))
	case 7:
		c.change(c.reg.Unlink(c.Context(), web, registry.Edge(api)))
	case 8:
		if mend := c.mend[which]; mend != nil {
			mend()
			delete(c.mend, which)
		} else {
			c.mend[which] = m.wire.unplug()
		}
	case 9:
		broken := errors.New("503 slow down")
		if c.random.IntN(2) == 0 {
			broken = nil
		}
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return broken } })
	case 10:
		m.halt()
		delete(c.mend, which)
		c.machines[which] = c.boot(which, follows(web))
	case 11:
		c.put(registry.DeciderName, string(registry.FormatDeciders(map[string]int{
			fmt.Sprint("d", c.random.IntN(3)): c.random.IntN(100), "fixed": 50,
		})))
		if len(c.leave) > 1 { // the last member stays: an empty set is held
			c.leave[0]()
			c.leave = c.leave[1:]
		}
		c.serial++
		c.leave = append(c.leave, c.join(user, registry.Endpoint(fmt.Sprintf("10.0.0.1:%d", 1000+c.serial))))
	}
	if c.random.IntN(3) == 0 {
		c.passes(time.Duration(c.random.Int64N(int64(40 * time.Second))))
	}
}

// change is an edit that may come too late.
func (c *chaos) change(err error) {
	if !errors.Is(err, registry.ErrExist) && !errors.Is(err, registry.ErrNotExist) {
		c.must(err)
	}
}

func (c *chaos) calmDown() {
	for _, mend := range c.mend {
		mend()
	}
	for _, m := range c.machines {
		m.wire.set(func(c *wire) { c.fetch = nil })
	}
	c.passes(12 * time.Minute) // a grace, the longest backoff, and until a serverset that shrank is believed
}

// compare a machine with the registry.
func (c *chaos) compare(m *machine) {
	ctx := c.Context()
	wanted, shown := map[string]string{}, map[registry.Dependency][]registry.Edge{}
	var walk func(dep registry.Dependency)
	walk = func(dep registry.Dependency) {
		members, err := first(ctx, c.reg.Dependency(ctx, dep))
		c.must(err)
		shown[dep] = members.Members
		for _, edge := range members.Members {
			if nested, ok := edge.Dependency(); ok {
				walk(nested)
			} else if name := registry.Name(edge); name != user {
				wanted["config/"+string(name)] = c.published(name)
			}
		}
	}
	walk(web)
	walk(registry.BaseDependency)
	if deciders := c.published(registry.DeciderName); deciders != "" {
		wanted["config/"+string(registry.DeciderName)] = deciders
		percents, err := registry.ParseDeciders([]byte(deciders))
		c.must(err)
		for name, percent := range percents {
			wanted["decider/"+name] = string(registry.FormatDecider(percent))
		}
	}
	members, err := first(ctx, c.reg.Members(ctx, user))
	c.must(err)
	wanted["serverset/"+string(user)] = string(registry.FormatServerset(members.Members))

	synctest.Wait()
	got := map[string]string{}
	for _, kind := range []registry.Kind{registry.Config, registry.Serverset, registry.Decider} {
		for _, e := range m.disk.List(kind) {
			got[e.File.String()], _ = m.read(e.File.String())
		}
	}
	if !maps.Equal(got, wanted) {
		c.Errorf("machine %s has\n%v, want\n%v", m.o.Host, got, wanted)
	}
	for dep, edges := range shown {
		m.lists(dep, edges...)
	}
	if n := len(m.disk.Graph().Dirs); n != len(shown) {
		c.Errorf("machine %s shows %d dependencies, want %d", m.o.Host, n, len(shown))
	}
	for _, s := range m.Statuses() {
		if s.Condition != Current {
			c.Errorf("%s is %s: %s", s.Name, s.Condition, s.Reason)
		}
	}
	c.must(m.Ready())
	c.must(m.Writable())
}

// published is the content of what the registry says is current.
func (c *chaos) published(name registry.Name) string {
	state, err := c.reg.State(c.Context(), name.Pointer())
	c.must(err)
	if state.Version == "" {
		return ""
	}
	body, err := c.reg.Fetch(c.Context(), name.Pointer().Key(state.Version))
	c.must(err)
	return string(body.Data)
}
