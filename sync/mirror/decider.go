package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// deciderFiles is what a version of the map changes in decider/: a file for each decider that has another percent than its file, and
// the files of deciders that are gone. What cannot be read changes nothing, be it the map or one entry.
func (m *Mirror) deciderFiles(c disk.Commit) (changed []disk.Commit, gone []disk.File) {
	percents, err := registry.ParseDeciders(c.Body)
	if err != nil {
		m.complain("deciders", string(c.Version), "the deciders keep their values: the map cannot be read",
			"name", c.Name, "version", c.Version, "error", err)
		return nil, nil
	}
	if err := registry.CheckDeciders(c.Body); err != nil {
		m.complain("deciders", string(c.Version), "some entries are no deciders, or not as they should be",
			"name", c.Name, "version", c.Version, "error", err)
	}
	lost := m.store.Damaged()
	for name, percent := range percents {
		file := disk.File{Kind: registry.Decider, Name: name}
		body := registry.FormatDecider(percent)
		if e, here := m.store.Current(file); here && e.SHA256 == registry.Sum(body) && !slices.Contains(lost, file) {
			continue
		}
		changed = append(changed, disk.Commit{
			File: file, Version: c.Version, Order: c.Order, Body: body,
			Author: c.Author, Message: c.Message, Published: c.Published,
		})
	}
	broken := registry.UnreadableDeciders(c.Body)
	for _, e := range m.store.List(registry.Decider) {
		if _, there := percents[e.Name]; !there && !slices.Contains(broken, e.Name) {
			gone = append(gone, e.File)
		}
	}
	slices.SortFunc(changed, func(a, b disk.Commit) int { return cmp.Compare(a.Name, b.Name) })
	return changed, gone
}

func (m *Mirror) removeFiles(files []disk.File) error {
	var failed []error
	for _, f := range files {
		if err := m.store.Remove(f); err != nil {
			failed = append(failed, fmt.Errorf("remove %s: %w", f, err))
		}
	}
	return errors.Join(failed...)
}

// repairDeciders makes decider/ agree with the map that is on disk: a crash may have come between the commit of the map and the
// removal of a decider that left it, and a decider's file may have gone bad. For any other name it does nothing.
func (m *Mirror) repairDeciders(name registry.Name, current disk.Entry) error {
	if name != registry.DeciderName {
		return nil
	}
	body, err := m.read(current)
	if err != nil {
		return err // the map itself went bad: it is damaged now, and fetched again
	}
	changed, gone := m.deciderFiles(disk.Commit{
		File: current.File, Version: current.Version, Order: current.Order, Body: body,
		Author: current.Author, Message: current.Message, Published: current.Published,
	})
	if len(changed) > 0 {
		if _, err := m.store.Commit(changed...); err != nil {
			return fmt.Errorf("write deciders to disk: %w", err)
		}
	}
	return m.removeFiles(gone)
}

// read returns the body of a version on disk.
func (m *Mirror) read(e disk.Entry) ([]byte, error) {
	file, err := m.store.OpenBody(e.Stamp)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", e.File, err)
	}
	defer file.Close()
	body, err := io.ReadAll(io.LimitReader(file, e.Size))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", e.File, err)
	}
	return body, nil
}
