package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

func (s *server) getName(r *http.Request) (any, error) {
	for _, n := range s.names() {
		if n.Name == r.PathValue("name") {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s is not followed here: %w", r.PathValue("name"), registry.ErrNotExist)
}

func (s *server) postName(r *http.Request) (any, error) {
	var c createRequest
	if err := s.decode(r, &c); err != nil {
		return nil, err
	}
	name, err := registry.ParseName(c.Name)
	if err != nil {
		return nil, err
	}
	var deps []registry.Dependency
	if len(c.Dependencies) == 0 && len(s.set.dependencies) > 0 {
		deps = s.set.dependencies[:1:1]
	}
	for _, word := range c.Dependencies {
		d, err := registry.ParseDependency(word)
		if err != nil {
			return nil, err
		}
		deps = append(deps, d)
	}
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	if err := m.Create(r.Context(), name, deps, c.Body, author(r, s.host)); err != nil {
		return nil, err
	}
	done := created{Name: c.Name, Kind: name.Kind().String(), Dependencies: texts(deps)}
	for _, d := range deps {
		done.Followed = done.Followed || s.follows(d)
	}
	return done, nil
}

// asked is the name that a request is about, and the mirror that is to answer.
func (s *server) asked(r *http.Request) (*mirror.Mirror, registry.Name, error) {
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, "", err
	}
	m, err := s.engine.get()
	return m, name, err
}

func (s *server) putName(r *http.Request) (any, error) {
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, s.set.maxBody))
	if err != nil {
		return nil, fmt.Errorf("publish %s: %v: %w", name, err, registry.ErrTooLarge)
	}
	query := r.URL.Query()
	p := mirror.Publication{
		Name: name, Body: body, Author: author(r, s.host), Message: query.Get("message"),
		Base: registry.Version(query.Get("base")), CompareAndSet: query.Has("base"), Force: query.Get("force") == "1",
	}
	if query.Get("try") == "1" {
		return struct{}{}, s.try(r.Context(), p)
	}
	before := s.versionOf(r.Context(), name)
	entry, err := s.publish(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return published{Name: string(name), Version: string(entry.Version), Changed: entry.Version != before}, nil
}

func (s *server) getRegistryNames(r *http.Request) (any, error) {
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	names, err := m.Names(r.Context())
	if err != nil {
		return nil, err
	}
	followed := s.followed()
	list := make([]listedName, 0, len(names))
	for _, n := range names {
		_, here := followed[n]
		here = here || n == registry.DeciderName // by every machine, though it may not have come yet
		list = append(list, listedName{Name: string(n), Kind: n.Kind().String(), Followed: here})
	}
	return list, nil
}

func (s *server) getRegistryName(r *http.Request) (any, error) {
	word := r.PathValue("name")
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	names, err := m.Names(r.Context())
	if err != nil {
		return nil, err
	}
	known := knownName{listedName: listedName{Name: word}, Dependencies: []string{}}
	for _, n := range names {
		if string(n) == word {
			known.Exists, known.Kind = true, n.Kind().String()
			here, followed := s.followed()[n]
			known.Followed = followed && len(here.Dependencies) > 0 // one that is in none is about to go
		}
	}
	if !known.Exists {
		near, _ := registry.Nearest(word, names)
		known.Nearest = string(near)
		return known, nil
	}
	known.Dependencies, err = s.holders(r.Context(), m, word)
	return known, err
}

// holders are all dependencies in the registry that hold a name themselves.
func (s *server) holders(ctx context.Context, m *mirror.Mirror, name string) ([]string, error) {
	all, err := s.dependencies(ctx, m)
	holders := []string{}
	for _, d := range all {
		if slices.Contains(d.Members, name) {
			holders = append(holders, d.Name)
		}
	}
	return holders, err
}
