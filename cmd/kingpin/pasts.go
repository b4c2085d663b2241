package main

import (
	"context"

	"github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/registry"
)

// showHistory gives the mount what .history shows.
func (s *server) showHistory(o *fs.Options) {
	o.History = func(ctx context.Context, name registry.Name) ([]fs.Past, error) {
		m, err := s.engine.soon()
		if err != nil {
			return nil, err
		}
		list, err := m.History(ctx, name)
		pasts := make([]fs.Past, 0, len(list))
		for _, p := range list {
			pasts = append(pasts, fs.Past(p))
		}
		return pasts, err
	}
	o.About = func(ctx context.Context, name registry.Name, v registry.Version) (fs.Past, error) {
		m, err := s.engine.soon()
		if err != nil {
			return fs.Past{}, err
		}
		p, err := m.About(ctx, name, v)
		return fs.Past(p), err
	}
	o.Version = func(ctx context.Context, name registry.Name, v registry.Version) (fs.Past, []byte, error) {
		m, err := s.engine.soon()
		if err != nil {
			return fs.Past{}, nil, err
		}
		p, body, err := m.Version(ctx, name, v)
		return fs.Past(p), body, err
	}
	o.Previous = func(ctx context.Context, name registry.Name, v registry.Version) (registry.Version, error) {
		m, err := s.engine.soon()
		if err != nil {
			return "", err
		}
		return m.Previous(ctx, name, v)
	}
	o.Knows = func(ctx context.Context, name registry.Name) error {
		m, err := s.engine.soon()
		if err != nil {
			return err
		}
		return m.Knows(ctx, name)
	}
}
