package thriftclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/follow"
)

// Where names are looked up: the mount, and the plain files of the monitor's state, which are there when the mount is not.
const (
	mountVariable = "KINGPIN_MOUNT"
	mount         = "/var/kingpin"
	stateVariable = "KINGPIN_STATE"
	state         = "/var/lib/kingpin"
)

const (
	collapseMin  = 5 // hosts, from which on losing more than a half of them at a time is not believed at once
	maxWeights   = 8 << 20
	membersEvery = 10 * time.Second // the look at the weights that no event announces
)

// File is the source that Open uses: a serverset file and, if it lies in a mount, the weights in .members/ beside it. Of the options
// Dir, Hold and Logger count.
//
// A file that is empty, broken or gone changes nothing; nor does one that has lost more than a half of at least five hosts, until
// it has stayed so for the time of Hold.
func File(path string, o Options) Source {
	return func(ctx context.Context) iter.Seq2[[]Member, error] {
		return func(yield func([]Member, error) bool) {
			s := &serverset{yield: yield, changed: make(chan struct{}, 1), hold: cmp.Or(o.Hold, time.Minute)}
			if err := s.open(path, o); err != nil {
				yield(nil, err)
				return
			}
			defer s.close()
			s.run(ctx)
		}
	}
}

// serverset is a file that is being followed.
type serverset struct {
	yield   func([]Member, error) bool
	hold    time.Duration
	changed chan struct{}
	dirs    []*follow.Dir
	lines   *follow.File[[]registry.Endpoint]
	weights *follow.File[map[string]int] // nil: there is no place for them

	good  []registry.Endpoint // what was yielded last
	since time.Time           // when it began to look collapsed; zero: it does not
}

func (s *serverset) open(path string, o Options) error {
	places, members := places(path, o.Dir)
	notify := func() {
		select {
		case s.changed <- struct{}{}:
		default: // there is word already
		}
	}
	dir, err := follow.OpenDir(follow.DirOptions{Logger: o.Logger}, places[0], places[1:]...)
	if err != nil {
		return err
	}
	s.dirs = append(s.dirs, dir)
	s.lines, err = follow.In(dir, filepath.Base(path), parseServerset, follow.Options{Logger: o.Logger, Changed: notify})
	if err != nil {
		s.close()
		return err
	}
	if members == "" {
		return nil
	}
	if dir, err = follow.OpenDir(follow.DirOptions{Poll: membersEvery}, members); err != nil {
		s.close()
		return err
	}
	s.dirs = append(s.dirs, dir)
	if s.weights, err = follow.In(dir, filepath.Base(path), parseWeights, follow.Options{Limit: maxWeights, Changed: notify}); err != nil {
		s.close()
	}
	return err
}

// places are the directories in which the file may be, and the one of its weights: empty if it does not lie in a mount.
func places(path, dir string) (places []string, members string) {
	if strings.ContainsRune(path, filepath.Separator) {
		parent, _ := filepath.Split(path)
		if parent = filepath.Clean(parent); filepath.Base(parent) == "serverset" {
			members = filepath.Join(filepath.Dir(parent), ".members")
		}
		return []string{parent}, members
	}
	const kind = "serverset"
	if dir != "" {
		return []string{filepath.Join(dir, kind), dir}, filepath.Join(dir, ".members")
	}
	root := cmp.Or(os.Getenv(mountVariable), mount)
	files := filepath.Join(cmp.Or(os.Getenv(stateVariable), state), "files")
	return []string{filepath.Join(root, kind), filepath.Join(files, kind)}, filepath.Join(root, ".members")
}

func (s *serverset) close() {
	for _, d := range s.dirs {
		_ = d.Close() // it says that a mount hangs: follow has logged it
	}
}

func (s *serverset) run(ctx context.Context) {
	timer := time.NewTimer(0) // the first look is at once
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-timer.C:
		}
		lines, ok := s.lines.Load()
		if !ok {
			if first && !s.yield(nil, cmp.Or(s.lines.Err(), errors.New("no good serverset so far"))) {
				return
			}
			continue
		}
		if left := s.held(lines, time.Now()); left > 0 {
			timer.Reset(left)
			lines = s.good
		}
		s.good = lines
		if !s.yield(s.members(lines), nil) {
			return
		}
	}
}

// held says for how long a set is not to be believed yet.
func (s *serverset) held(lines []registry.Endpoint, now time.Time) time.Duration {
	if s.hold <= 0 || len(s.good) < collapseMin || 2*len(lines) >= len(s.good) {
		s.since = time.Time{}
		return 0
	}
	if s.since.IsZero() {
		s.since = now
	}
	if left := s.hold - now.Sub(s.since); left > 0 {
		return left
	}
	s.since = time.Time{}
	return 0
}

func (s *serverset) members(lines []registry.Endpoint) []Member {
	var weights map[string]int
	if s.weights != nil {
		weights, _ = s.weights.Load() // none so far: all are equal
	}
	members := make([]Member, len(lines))
	for i, e := range lines {
		members[i] = Member{Endpoint: string(e), Weight: weights[string(e)]}
	}
	return members
}

func parseServerset(data []byte) ([]registry.Endpoint, error) {
	endpoints, err := registry.ParseServerset(data)
	if err == nil && len(endpoints) == 0 {
		err = fmt.Errorf("serverset is empty: %w", registry.ErrInvalid)
	}
	return endpoints, err
}

// parseWeights reads what .members/ says of each endpoint, as far as it matters here. An endpoint that is registered twice has the
// greater weight of both.
func parseWeights(data []byte) (map[string]int, error) {
	var members []struct {
		Endpoint string `json:"endpoint"`
		Weight   int    `json:"weight"`
	}
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	weights := make(map[string]int, len(members))
	for _, m := range members {
		if m.Weight < 0 || m.Weight > registry.MaxWeight {
			return nil, fmt.Errorf("weight %d of %.80q: %w", m.Weight, m.Endpoint, registry.ErrInvalid)
		}
		weights[m.Endpoint] = max(weights[m.Endpoint], m.Weight)
	}
	return weights, nil
}
