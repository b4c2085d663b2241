package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

func (s *server) getDependencies(r *http.Request) (any, error) {
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	return s.dependencies(r.Context(), m)
}

// dependencies of the whole registry, with their members.
func (s *server) dependencies(ctx context.Context, m *mirror.Mirror) ([]dependencyStatus, error) {
	names, err := m.Dependencies(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]dependencyStatus, 0, len(names))
	for _, d := range names {
		one, err := s.dependency(ctx, m, d)
		if errors.Is(err, registry.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (s *server) dependency(ctx context.Context, m *mirror.Mirror, d registry.Dependency) (dependencyStatus, error) {
	edges, err := m.Edges(ctx, d)
	if err != nil {
		return dependencyStatus{}, err
	}
	return dependencyStatus{Name: string(d), Members: texts(edges), Followed: s.follows(d)}, nil
}

// followedDirs are the dependencies that this machine follows: the mount shows others too, that were made here.
func (s *server) followedDirs() []disk.Dir {
	return s.store.Graph().Reach(append(slices.Clone(s.set.dependencies), registry.BaseDependency)...)
}

func (s *server) follows(d registry.Dependency) bool {
	return slices.ContainsFunc(s.followedDirs(), func(dir disk.Dir) bool { return dir.Name == d })
}

func (s *server) putDependency(r *http.Request) (any, error) {
	return s.onDependency(r, "created", func(ctx context.Context, m *mirror.Mirror, d registry.Dependency) error {
		return m.CreateDependency(ctx, d)
	})
}

func (s *server) deleteDependency(r *http.Request) (any, error) {
	return s.onDependency(r, "deleted", func(ctx context.Context, m *mirror.Mirror, d registry.Dependency) error {
		err := m.DeleteDependency(ctx, d)
		if errors.Is(err, registry.ErrNotExist) {
			err = hint(err, s.nearEdges(ctx, m, []registry.Edge{registry.Edge(d)})...)
		}
		return err
	})
}

func (s *server) postMembers(r *http.Request) (any, error) {
	return s.onMembers(r, "subscribed", func(m *mirror.Mirror, ctx context.Context, d registry.Dependency, edges ...registry.Edge) error {
		err := m.Subscribe(ctx, d, edges...)
		if err == nil {
			m.AwaitMembers(ctx, d, edges...)
		}
		return err
	})
}

func (s *server) deleteMembers(r *http.Request) (any, error) {
	return s.onMembers(r, "unsubscribed", (*mirror.Mirror).Unsubscribe)
}

func (s *server) onMembers(r *http.Request, done string, change func(*mirror.Mirror, context.Context, registry.Dependency, ...registry.Edge) error) (any, error) {
	var request memberRequest
	if err := s.decode(r, &request); err != nil {
		return nil, err
	}
	var edges []registry.Edge
	for _, word := range request.Members {
		e, err := registry.ParseEdge(word)
		if err != nil {
			return nil, err
		}
		edges = append(edges, e)
	}
	if len(edges) == 0 {
		return nil, fmt.Errorf("no members were named: %w", registry.ErrInvalid)
	}
	return s.onDependency(r, done, func(ctx context.Context, m *mirror.Mirror, d registry.Dependency) error {
		err := change(m, ctx, d, edges...)
		if errors.Is(err, registry.ErrNotExist) && !strings.Contains(err.Error(), "nearest: ") {
			err = hint(err, s.nearEdges(ctx, m, append(edges, registry.Edge(d)))...)
		}
		return err
	}, "members", edges)
}

// nearEdges says which existing names or dependencies those that do not exist were probably meant to be.
func (s *server) nearEdges(ctx context.Context, m *mirror.Mirror, edges []registry.Edge) []string {
	names, err := m.Names(ctx)
	dependencies, err2 := m.Dependencies(ctx)
	if errors.Join(err, err2) != nil {
		return nil // no better answer, then
	}
	all := append(texts(names), texts(dependencies)...)
	var hints []string
	for _, e := range edges {
		if near, ok := registry.Nearest(string(e), all); ok && near != string(e) && !slices.Contains(all, string(e)) {
			hints = append(hints, "nearest: "+near)
		}
	}
	return hints
}

// onDependency changes the dependency of a request, logs who did it, and answers with what it is then.
func (s *server) onDependency(r *http.Request, done string, change func(context.Context, *mirror.Mirror, registry.Dependency) error, about ...any) (any, error) {
	d, err := registry.ParseDependency(r.PathValue("dep"))
	if err != nil {
		return nil, err
	}
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	if err := change(r.Context(), m, d); err != nil {
		return nil, err
	}
	s.log.Info(done, append([]any{"dependency", d, "author", author(r, s.host)}, about...)...)
	if r.Method == "DELETE" && about == nil {
		return dependencyStatus{Name: string(d), Members: []string{}}, nil
	}
	return s.dependency(r.Context(), m, d)
}
