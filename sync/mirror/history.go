package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// Past is one version of a config that was published some time.
type Past struct {
	Version   registry.Version
	Published time.Time // by its publisher's clock, or else when its body was stored
	Author    string    // empty: not said; of a listing, perhaps not asked for
	Message   string    // likewise
	Size      int64     // bytes of the body
	SHA256    registry.Checksum
	Replaces  registry.Version // what was current before; empty: nothing, or nobody said
}

// maxHistory bounds a listing.
const maxHistory = 1000

// History lists the versions of a config whose bodies are stored, the newest first, the current one among them; at most a thousand. One
// whose publisher lost the race, or died before the registry moved, is among them too: About tells what each replaced. With an
// error come the versions that this machine has itself.
func (m *Mirror) History(ctx context.Context, name registry.Name) ([]Past, error) {
	if err := historic(name); err != nil {
		return nil, err
	}
	here := m.pastHere(name)
	if err := m.health.lost(bodiesSide); err != nil {
		return here, fmt.Errorf("list the versions of %s: %w", name, err)
	}
	pointer := name.Pointer()
	stored, err := m.bodies.List(ctx, pointer.Key(""), maxHistory)
	m.answered(bodiesSide, err)
	if err != nil {
		return here, fmt.Errorf("list the versions of %s: %w", name, inTime(err))
	}
	list := here
	for _, s := range stored {
		if v, ok := pointer.VersionOf(s.Key); ok && !slices.ContainsFunc(here, func(p Past) bool { return p.Version == v }) {
			list = append(list, pastOf(v, s))
		}
	}
	slices.SortStableFunc(list, func(a, b Past) int { return b.Version.Compare(a.Version) })
	return list[:min(len(list), maxHistory)], nil
}

// historic refuses a name that keeps no versions.
func historic(name registry.Name) error {
	if _, err := registry.ParseName(string(name)); err != nil {
		return err
	}
	if name.Kind() != registry.Config {
		return fmt.Errorf("%s has no versions, only configs keep them: %w", name, registry.ErrInvalid)
	}
	return nil
}

func pastOf(v registry.Version, s registry.Stored) Past {
	p := Past{
		Version: v, Published: s.Meta.Published, Author: s.Meta.Author, Message: s.Meta.Message,
		Size: s.Size, SHA256: s.Meta.SHA256, Replaces: s.Meta.Replaces,
	}
	if p.Published.IsZero() {
		p.Published, _ = v.Time() // a body of the old system, or a listing: the token is the time
	}
	if p.Published.IsZero() {
		p.Published = s.Modified
	}
	return p
}

// pastHere is the versions of a config that are on this machine's disk, the newest first.
func (m *Mirror) pastHere(name registry.Name) []Past {
	var list []Past
	for _, e := range m.store.VersionsOf(disk.File{Kind: name.Kind(), Name: string(name)}) {
		list = append(list, Past{
			Version: e.Version, Published: e.Published, Author: e.Author, Message: e.Message, Size: e.Size, SHA256: e.SHA256,
		})
	}
	return list
}

// About is what is known of one version, without its bytes. ErrNotExist. What this machine has itself it knows without the store, but
// for what that replaced.
func (m *Mirror) About(ctx context.Context, name registry.Name, v registry.Version) (Past, error) {
	if err := historic(name); err != nil {
		return Past{}, err
	}
	stored, err := registry.Stored{}, m.health.lost(bodiesSide)
	if err == nil {
		stored, err = m.bodies.Stat(ctx, name.Pointer().Key(v))
		m.answered(bodiesSide, err)
	}
	if err == nil {
		return pastOf(v, stored), nil
	}
	here := m.pastHere(name)
	if i := slices.IndexFunc(here, func(p Past) bool { return p.Version == v }); i >= 0 {
		return here[i], nil
	}
	return Past{}, fmt.Errorf("look at %s@%s: %w", name, v, inTime(err))
}

// Version fetches one version: from this machine's disk if it is there. ErrNotExist.
func (m *Mirror) Version(ctx context.Context, name registry.Name, v registry.Version) (Past, []byte, error) {
	if err := historic(name); err != nil {
		return Past{}, nil, err
	}
	if p, body, ok := m.versionHere(name, v); ok {
		return p, body, nil
	}
	body, err := m.fetch(ctx, name, v)
	if kept, ok := errors.AsType[held](err); ok {
		return Past{}, nil, fmt.Errorf("%s: %s: %w", name, kept.reason, registry.ErrChecksum)
	}
	if err != nil {
		return Past{}, nil, fmt.Errorf("%s: %w", name, err)
	}
	p := pastOf(v, registry.Stored{Size: int64(len(body.Data)), Meta: body.Meta})
	p.SHA256 = registry.Sum(body.Data)
	return p, body.Data, nil
}

func (m *Mirror) versionHere(name registry.Name, v registry.Version) (Past, []byte, bool) {
	file := disk.File{Kind: name.Kind(), Name: string(name)}
	entries := m.store.SupersededOf(file)
	if current, ok := m.store.Current(file); ok {
		entries = append(entries, current)
	}
	for _, e := range slices.Backward(entries) {
		if e.Version != v {
			continue
		}
		if body, err := m.read(e); err == nil {
			return Past{
				Version: v, Published: e.Published, Author: e.Author, Message: e.Message, Size: e.Size, SHA256: e.SHA256,
			}, body, true
		}
	}
	return Past{}, nil, false
}

// Previous is the version that was current before v. ErrNotExist if there was none. If the store is away it is the one that this machine
// had before.
func (m *Mirror) Previous(ctx context.Context, name registry.Name, v registry.Version) (registry.Version, error) {
	about, unknown := m.About(ctx, name, v)
	if unknown == nil && about.Replaces != "" {
		return about.Replaces, nil
	}
	list, err := m.History(ctx, name)
	for _, p := range list {
		if p.Version.Compare(v) < 0 {
			return p.Version, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("nothing was published before %s@%s: %w", name, v, registry.ErrNotExist)
	}
	return "", err
}
