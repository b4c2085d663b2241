package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// publishedNow is what the registry has of a name now, of which this machine need know nothing.
type publishedNow struct {
	body  registry.Body
	state registry.State
}

func (s *server) current(ctx context.Context, name registry.Name) (now publishedNow, err error) {
	b, _ := s.engine.behind()
	if b.registry == nil {
		_, err := s.engine.get()
		return now, err
	}
	if name.Kind() == registry.Serverset {
		for members, err := range b.registry.Members(ctx, name) {
			now.state = registry.State{Exists: members.Exists, Order: members.Order}
			now.body.Data = registry.FormatServerset(members.Members)
			if err == nil && !members.Exists {
				err = fmt.Errorf("%w: %s", registry.ErrNotExist, name)
			}
			return now, err
		}
		return now, ctx.Err()
	}
	now.state, err = b.registry.State(ctx, name.Pointer())
	switch {
	case err != nil:
		return now, err
	case !now.state.Exists:
		return now, fmt.Errorf("%w: %s", registry.ErrNotExist, name)
	case now.state.Version == "":
		return now, nil
	}
	now.body, err = b.bodies.Fetch(ctx, name.Pointer().Key(now.state.Version))
	if err != nil {
		err = fmt.Errorf("%s is at version %s: %w", name, now.state.Version, err)
	}
	return now, err
}

// versionOf is what is current before a publication, as far as anybody can say.
func (s *server) versionOf(ctx context.Context, name registry.Name) registry.Version {
	if here, ok := s.store.Current(fileOf(name)); ok {
		return here.Version
	}
	b, _ := s.engine.behind()
	if b.registry == nil {
		return ""
	}
	state, _ := b.registry.State(ctx, name.Pointer())
	return state.Version
}

func (s *server) getBody(r *http.Request) (any, error) {
	now, err := s.askCurrent(r)
	if now.body.Data == nil {
		now.body.Data = []byte{}
	}
	return now.body.Data, err
}

func (s *server) getPublished(r *http.Request) (any, error) {
	now, err := s.askCurrent(r)
	if err != nil {
		return nil, err
	}
	name := registry.Name(r.PathValue("name"))
	n := nameStatus{
		Name: string(name), Kind: name.Kind().String(), State: stateCurrent, Version: string(now.state.Version),
		Author: now.body.Meta.Author, Message: now.body.Meta.Message, Published: now.body.Meta.Published,
		Size: int64(len(now.body.Data)), SHA256: fmt.Sprintf("%x", registry.Sum(now.body.Data)), Dependencies: []string{},
	}
	if at := now.body.Meta.Published; !at.IsZero() {
		n.Age = seconds(max(0, time.Since(at))) // another machine has said when
	}
	m, err := s.engine.get()
	if err != nil {
		return nil, err
	}
	n.Dependencies, err = s.holders(r.Context(), m, string(name))
	return n, err
}

func (s *server) askCurrent(r *http.Request) (publishedNow, error) {
	name, err := registry.ParseName(r.PathValue("name"))
	if err != nil {
		return publishedNow{}, err
	}
	return s.current(r.Context(), name)
}
