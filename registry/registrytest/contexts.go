package registrytest

import (
	"context"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

var contextTests = map[string]func(t *testing.T, a, b Registry){
	"who gives up before he begins has changed nothing": testContextDone,
	"who waits for his turn may give up":                testContextTurn,
}

func testContextDone(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	register(t, a, b, blacklist)
	create(t, a, b, p)
	depend(t, a, b, "web.dep", "base.dep")
	must(t, a.Link(t.Context(), "web.dep", "base.dep"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, stateErr := a.State(ctx, p)
	_, namesErr := a.Names(ctx)
	_, dependenciesErr := a.Dependencies(ctx)
	_, fetchErr := a.Fetch(ctx, p.Key(v1))
	_, advanceErr := a.Advance(ctx, p, "", v1, nil)
	for step, err := range map[string]error{
		"state":        stateErr,
		"names":        namesErr,
		"dependencies": dependenciesErr,
		"fetch":        fetchErr,
		"advance":      advanceErr,
		"create":       a.Create(ctx, greylist.Pointer()),
		"delete":       a.Delete(ctx, p),
		"make":         a.CreateDependency(ctx, "new.dep"),
		"remove":       a.DeleteDependency(ctx, "base.dep"),
		"link":         a.Link(ctx, "web.dep", registry.Edge(blacklist)),
		"unlink":       a.Unlink(ctx, "web.dep", "base.dep"),
		"put":          a.Put(ctx, p.Key(v1), described([]byte("x"))),
		"index":        a.PutIndex(ctx, p.IndexKey(), v1),
		"join":         a.Join(ctx, users, registry.Member{Endpoint: "10.0.0.1:9090"}),
	} {
		refused(t, err, context.Canceled, step)
	}

	if s := watch(t, a, p).next(t); !s.Exists || s.Version != "" {
		t.Errorf("the pointer is %+v", s)
	}
	if s := watch(t, a, greylist.Pointer()).next(t); s.Exists {
		t.Errorf("a pointer was made: %+v", s)
	}
	if e := edges(t, a, "web.dep").next(t); !linked("base.dep")(e) {
		t.Errorf("the edges are %+v", e)
	}
	if e := edges(t, a, "new.dep").next(t); e.Exists {
		t.Errorf("a dependency was made: %+v", e)
	}
	_, err := a.Fetch(t.Context(), p.Key(v1))
	refused(t, err, registry.ErrNotExist, "fetch what was not put")
}

func testContextTurn(t *testing.T, a, b Registry) {
	p := blacklist.Pointer()
	create(t, a, b, p)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := a.Advance(t.Context(), p, "", v1, func(context.Context) error {
		// The lock of the pointer's writers is held here, so this one waits until it gives up.
		waited := make(chan error)
		go func() {
			_, err := b.Advance(ctx, p, v1, v2, nil)
			waited <- err
		}()
		cancel()
		refused(t, <-waited, context.Canceled, "advance while another writes its index")
		return nil
	})
	must(t, err)
	if s, err := a.State(t.Context(), p); err != nil || s.Version != v1 {
		t.Errorf("the pointer is %+v, %v, want %s", s, err, v1)
	}
	advance(t, b, p, v1, v2)
}
