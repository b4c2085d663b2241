package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// topics are the files of MOUNT/.status. Those without an ending are one line, for shells and probes.
func (s *server) topics() map[string]func() []byte {
	line := func(text string) []byte { return []byte(text + "\n") }
	return map[string]func() []byte{
		"ready": func() []byte {
			if err := s.ready(); err != nil {
				return line("no: " + words(err))
			}
			return line("yes")
		},
		"pid":                func() []byte { return line(fmt.Sprint(os.Getpid())) },
		"version":            func() []byte { return line(version) },
		"monitor.json":       func() []byte { return indented(s.status()) },
		"names.json":         func() []byte { return indented(s.names()) },
		"serversets.json":    func() []byte { return indented(s.serversets()) },
		"registrations.json": func() []byte { return indented(s.registrations()) },
		"publishes.json":     func() []byte { return indented(s.publishes.list()) },
	}
}

func indented(v any) []byte {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // our own types, without cycles, functions or NaN
	}
	return append(data, '\n')
}

// ready says whether all that this machine follows is served as it was last known: the registry need not be there for that.
func (s *server) ready() error {
	m, err := s.engine.get()
	switch {
	case err == nil && s.seeding.Load():
		return errors.New("the demo config is being made")
	case err == nil:
		return m.Ready()
	}
	if missing := s.neverHere(); missing != nil {
		return fmt.Errorf("%w (%s)", missing, words(err))
	}
	return nil
}

// neverHere says what the last known dependencies hold that is not on disk.
func (s *server) neverHere() error {
	graph := s.store.Graph()
	for _, d := range s.set.dependencies {
		if _, ok := graph.Dir(d); !ok {
			return fmt.Errorf("%s was never read", d)
		}
	}
	for _, dir := range s.followedDirs() {
		for _, link := range dir.Links {
			if name, ok := link.Edge.Name(); ok {
				if _, here := s.store.Current(fileOf(name)); !here {
					return fmt.Errorf("%s was never here", name)
				}
			}
		}
	}
	return nil
}

// status is monitor.json.
func (s *server) status() monitorStatus {
	m := monitorStatus{
		Version:       version,
		PID:           os.Getpid(),
		Started:       s.started.UTC(),
		Uptime:        seconds(time.Since(s.started)),
		State:         s.set.state,
		Files:         filepath.Join(s.set.state, "files"),
		Control:       filepath.Join(s.set.state, controlSocket),
		Dependencies:  texts(s.set.roots()),
		ReadOnly:      s.set.readOnly,
		PublishGroup:  s.set.publishGroup,
		CreateByWrite: s.set.createByWrite && s.mount != nil,
		MaxBody:       s.set.maxBody,
		Deleted:       []string{},
		Admin:         s.admin.where(),
		Metrics:       s.public.where(),
	}
	s.engine.answer(&m)
	if s.mount != nil {
		m.Mount, m.Restarts, m.LastDeath = s.mount.Mount, s.mount.Restarts, s.mount.LastDeath
	}
	if err := s.ready(); err != nil {
		m.Reason = words(err)
	} else {
		m.Ready = true
	}
	if err := s.engine.writable(); err != nil {
		m.WriteError = words(err)
	} else {
		m.Writable = !s.set.readOnly
	}
	for _, r := range s.engine.registrar.Registrations() {
		if r.State == mirror.Registered {
			m.Registered++
		} else {
			m.Unregistered++
		}
	}
	for _, n := range s.names() {
		m.Names++
		switch n.State {
		case stateCurrent:
			m.Current++
		case stateStale:
			m.Stale++
		case stateHeld:
			m.Held++
		case stateMissing:
			m.Missing++
		case statePending:
			m.Pending++
		}
	}
	return m
}

// names is names.json: every name that is followed here, sorted.
func (s *server) names() []nameStatus {
	now := time.Now()
	list := []nameStatus{}
	for name, n := range s.followed() {
		n.Name, n.Kind = string(name), name.Kind().String()
		e, here := s.store.Current(fileOf(name))
		if here {
			n.fill(e, now)
			n.Path = s.path(e.File)
		}
		if !here && name == registry.DeciderName && len(n.Dependencies) == 0 {
			continue // every machine follows it, but nobody has made a decider yet
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b nameStatus) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// followed are the names that are followed here, with state, reason and dependencies; as the engine has it, or before there is one,
// as the disk remembers it.
func (s *server) followed() map[registry.Name]nameStatus {
	all := map[registry.Name]nameStatus{}
	m, err := s.engine.get()
	if err == nil {
		for _, status := range m.Statuses() {
			all[status.Name] = nameStatus{State: string(status.Condition), Reason: reason(status), Cause: string(status.Cause), Dependencies: texts(status.Dependencies)}
		}
		return all
	}
	for _, kind := range []registry.Kind{registry.Config, registry.Serverset} {
		for _, e := range s.store.List(kind) {
			all[registry.Name(e.Name)] = nameStatus{State: stateUnknown, Reason: words(err), Dependencies: []string{}}
		}
	}
	for _, dir := range s.followedDirs() {
		for _, link := range dir.Links {
			name, ok := link.Edge.Name()
			if !ok {
				continue
			}
			n, here := all[name]
			if !here {
				n = nameStatus{State: statePending, Reason: words(err)}
			}
			n.Dependencies = append(n.Dependencies, string(dir.Name))
			all[name] = n
		}
	}
	return all
}

// reason is why a name is not current, and that it is about to go.
func reason(status mirror.NameStatus) string {
	if !status.Leaving.IsZero() {
		return "no dependency holds it any more; its file goes"
	}
	return status.Reason
}

func (n *nameStatus) fill(e disk.Entry, now time.Time) {
	n.Version, n.Author, n.Message = string(e.Version), e.Author, e.Message
	n.Published = e.Published
	n.Age = seconds(now.Sub(e.Stamp.Time()))
	n.Size = e.Size
	n.SHA256 = fmt.Sprintf("%x", e.SHA256)
}

// path of a file as programs see it.
func (s *server) path(f disk.File) string {
	if s.mount != nil {
		return filepath.Join(s.mount.Mount, f.String())
	}
	return filepath.Join(s.set.state, "files", f.String())
}

func fileOf(name registry.Name) disk.File {
	return disk.File{Kind: name.Kind(), Name: string(name)}
}
