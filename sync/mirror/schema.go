package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
	"github.com/kingpinfs/kingpin/sync/schema"
)

// A config may have a JSON Schema, published as a config of its own (registry.Name.Schema). Every publication here is judged by the
// one that is current in the registry, whether this machine follows it or not. What is broken judges nobody: a schema that is none is
// refused when it is published, and one that came in by another door is said once and left out.

// schemaFresh is how long an answer about a schema is relied on: a write that is judged when its last byte comes is judged again
// when it is published.
const schemaFresh = time.Second

// maxSchemas is how many compiled schemas are kept.
const maxSchemas = 256

// schemas are the compiled ones by their names.
type schemas struct {
	mu    sync.Mutex
	known map[registry.Name]knownSchema
}

// knownSchema is what was found under the name of a schema.
type knownSchema struct {
	version  registry.Version
	compiled *schema.Schema // nil: there is none, or it is broken
	asked    time.Time
}

func (s *schemas) get(name registry.Name) (knownSchema, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.known[name]
	return k, ok
}

func (s *schemas) keep(name registry.Name, k knownSchema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSchemas {
		s.known = map[registry.Name]knownSchema{}
	}
	s.known[name] = k
}

// forget has the registry asked again about a schema that was just published.
func (s *schemas) forget(name registry.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
}

// Check says why a body would be refused as the next version of a config, if its schema does not allow it.
func (m *Mirror) Check(ctx context.Context, name registry.Name, body []byte) error {
	if name.IsSchema() {
		if len(body) == 0 {
			return nil // no schema any more
		}
		_, err := schema.Compile(name, body)
		return err
	}
	compiled, err := m.schemaOf(ctx, name)
	if err != nil || compiled == nil {
		return err
	}
	return compiled.Check(body)
}

// schemaOf is the schema of a config; nil if there is none, or none that can be used.
func (m *Mirror) schemaOf(ctx context.Context, config registry.Name) (*schema.Schema, error) {
	name, ok := config.Schema()
	if !ok {
		return nil, nil
	}
	known, ok := m.schemas.get(name)
	if ok && time.Since(known.asked) < schemaFresh {
		return known.compiled, nil
	}
	asked := time.Now()
	state, err := m.registry.State(ctx, name.Pointer())
	m.answered(registrySide, err)
	switch {
	case errors.Is(err, registry.ErrPermission):
		known = knownSchema{}
		m.schemaBroken(name, "", err)
	case err != nil:
		return nil, fmt.Errorf("not published: ask for the schema %s: %w", name, inTime(err))
	case !ok || known.version != state.Version:
		known = knownSchema{version: state.Version}
		if known.compiled, err = m.compileSchema(ctx, name, state.Version); err != nil {
			return nil, fmt.Errorf("not published: read the schema %s: %w", name, err)
		}
	}
	known.asked = asked
	m.schemas.keep(name, known)
	return known.compiled, nil
}

// compileSchema reads a version of a schema, from the disk if this machine follows it.
func (m *Mirror) compileSchema(ctx context.Context, name registry.Name, version registry.Version) (*schema.Schema, error) {
	if version == "" {
		return nil, nil
	}
	body, err := m.schemaBody(ctx, name, version)
	broken := errors.As(err, new(held)) || errors.Is(err, registry.ErrNotExist) || errors.Is(err, registry.ErrPermission)
	if err != nil && !broken {
		return nil, inTime(err)
	}
	var compiled *schema.Schema
	if !broken && len(body) > 0 {
		compiled, err = schema.Compile(name, body)
	}
	if err != nil {
		m.schemaBroken(name, version, err)
		return nil, nil
	}
	return compiled, nil
}

// schemaBroken says once that a version of a schema cannot be read, or is none.
func (m *Mirror) schemaBroken(name registry.Name, version registry.Version, err error) {
	m.complain("schema "+string(name), string(version), "a schema is broken: what it is for is published unjudged",
		"name", name, "version", version, "error", err)
}

func (m *Mirror) schemaBody(ctx context.Context, name registry.Name, version registry.Version) ([]byte, error) {
	here, ok := m.store.Current(disk.File{Kind: registry.Config, Name: string(name)})
	if ok && here.Version == version && !m.damaged(name) {
		if body, err := m.read(here); err == nil {
			return body, nil
		}
	}
	body, err := m.fetch(ctx, name, version)
	return body.Data, err
}

// beginCheck asks for the schema of a config while the publication that it is to judge goes on. check waits for the answer and judges;
// whoever began calls done in the end.
func (m *Mirror) beginCheck(ctx context.Context, name registry.Name) (check func(body []byte) error, done func()) {
	var asking sync.WaitGroup
	asking.Go(func() {
		_, _ = m.schemaOf(ctx, name) // its error is told to who waits for the answer
	})
	check = func(body []byte) error {
		asking.Wait()
		return m.Check(ctx, name, body)
	}
	return check, asking.Wait
}
