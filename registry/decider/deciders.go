package decider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/manageddata"
)

// Options of Open. The zero Options are good on a machine with a monitor.
type Options struct {
	// Dir is the tree with the files: a mount, any directory with config/ in it, or one with config.manageddata.admin.decider itself.
	// Empty means $KINGPIN_MOUNT, then /var/kingpin, and while that is away the plain files in $KINGPIN_STATE/files, then
	// /var/lib/kingpin/files.
	Dir string

	In     *manageddata.Dir // shares one watch with managed data; Dir and Poll count for nothing then
	Poll   time.Duration    // how often to look at the file without being told, give or take a half; 0 is 10 s
	Logger *slog.Logger     // one line for each change of state; nil is silence
}

// Deciders are all gates of a fleet. Their methods may be called from any goroutine.
type Deciders struct {
	dir   *manageddata.Dir
	owned bool // dir
	raw   *manageddata.Raw

	mu       sync.Mutex
	percents map[string]int // the last good value of each name
	gates    map[string]*value
}

const (
	domain = "admin" // with key: registry.DeciderName
	key    = "decider"
)

// Open follows the deciders of this machine. The errors are of the options only: a missing or broken file is none.
func Open(o Options) (*Deciders, error) {
	d := &Deciders{dir: o.In, gates: map[string]*value{}}
	if d.dir == nil {
		dir, err := manageddata.OpenDir(manageddata.Options{Dir: o.Dir, Poll: o.Poll, Logger: o.Logger})
		if err != nil {
			return nil, err
		}
		d.dir, d.owned = dir, true
	}
	changed := make(chan struct{}) // the first version may be read before there is d.raw to read it from
	raw, err := manageddata.OpenRaw(domain, key, manageddata.Options{
		In: d.dir, Logger: o.Logger,
		Check: func(body []byte) error { _, err := registry.ParseDeciders(body); return err },
		Changed: func() {
			select {
			case <-changed:
				d.apply()
			default:
			}
		},
	})
	if err != nil {
		return nil, errors.Join(err, d.closeDir())
	}
	d.raw = raw
	close(changed)
	d.apply()
	return d, nil
}

// Fixed are deciders without a file, for tests: Set changes them at once.
func Fixed(percents map[string]int) *Deciders {
	d := &Deciders{gates: map[string]*value{}, percents: map[string]int{}}
	for name, percent := range percents {
		d.percents[strings.ToLower(name)] = clamp(percent)
	}
	return d
}

// apply gives every gate the value of the newest version. A value that cannot be read stays what it was.
func (d *Deciders) apply() {
	d.mu.Lock()
	defer d.mu.Unlock()
	content, ok := d.raw.Value() // under the lock, so that an older version never comes after a newer one
	if !ok {
		return
	}
	percents, err := registry.ParseDeciders([]byte(content))
	if err != nil {
		return // Check was asked before
	}
	for _, name := range registry.UnreadableDeciders([]byte(content)) {
		if last, ok := d.percents[name]; ok {
			percents[name] = last
		}
	}
	d.spread(percents)
}

// spread sets the gates. d.mu is held.
func (d *Deciders) spread(percents map[string]int) {
	d.percents = percents
	for name, v := range d.gates {
		v.set(percents, name)
	}
}

// All are the names with their percents.
func (d *Deciders) All() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.percents)
}

// Set publishes the percent of one decider to the fleet, and returns when it is readable here. On a mount it is written to
// decider/NAME, which changes this one key of the map only, whoever else changes others at the same time; on plain directories, which tests have, to the file of the map.
func (d *Deciders) Set(ctx context.Context, name string, percent int) error {
	name = strings.ToLower(name)
	if _, err := registry.ParseDeciderName(name); err != nil {
		return err
	}
	if percent < 0 || percent > 100 {
		return fmt.Errorf("decider %s: %d is not a whole number from 0 to 100: %w", name, percent, registry.ErrInvalid)
	}
	if d.raw == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		percents := maps.Clone(d.percents)
		percents[name] = percent
		d.spread(percents)
		return nil
	}
	before := d.raw.View().Version()
	err := d.dir.Write(ctx, registry.Decider, name, registry.FormatDecider(percent))
	if errors.Is(err, manageddata.ErrPlain) {
		return d.raw.Update(ctx, func(body []byte) ([]byte, error) { return registry.SetDecider(body, name, percent) })
	}
	if err != nil {
		return fmt.Errorf("set decider %s: %w", name, err)
	}
	return d.await(ctx, name, percent, before)
}

// The file of the map shows what was written to that of a decider when the write returns, or if the kernel could not be told of it in time
// a moment later.
const (
	mapPause    = 2 * time.Millisecond
	mapPatience = 2 * time.Second
)

// await returns when the map shows a percent that was written, or another version than before it. It is published in any case.
func (d *Deciders) await(ctx context.Context, name string, percent int, before string) error {
	for deadline := time.Now().Add(mapPatience); ; {
		if err := d.raw.Refresh(ctx); err != nil {
			return err
		}
		d.mu.Lock()
		now, ok := d.percents[name]
		d.mu.Unlock()
		if ok && now == percent || d.raw.View().Version() != before || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-time.After(mapPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Wait returns when a good file was read, and with an error when ctx is done before.
func (d *Deciders) Wait(ctx context.Context) error {
	if d.raw == nil {
		return nil
	}
	return d.raw.Wait(ctx)
}

// Err is what is wrong with the file now; nil if the gates show what is in it.
func (d *Deciders) Err() error {
	if d.raw == nil {
		return nil
	}
	return d.raw.Err()
}

// Close ends the following and waits for it. Gates keep their values.
func (d *Deciders) Close() error {
	if d.raw == nil {
		return nil
	}
	return errors.Join(d.raw.Close(), d.closeDir())
}

func (d *Deciders) closeDir() error {
	if !d.owned {
		return nil
	}
	return d.dir.Close()
}
