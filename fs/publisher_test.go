package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// publisher stands for the mirror: the disk itself is its registry. It can be told to take its time.
type publisher struct {
	state string // the state directory; what is not in the store lives in files beside it
	store *disk.Store
	seats *seats
	mu    sync.Mutex
	hold  map[string]time.Duration // by name, or dependency
	gates map[string]chan struct{} // the same, until it is released
	edges map[registry.Dependency][]registry.Edge
	made  int // versions
	held  int // who waits for the time that was ordered
}

// writable says whether the network is there. When it is away it is for the next server too.
func (p *publisher) writable() error {
	if _, err := os.Stat(p.file("down")); err == nil {
		return fmt.Errorf("registry gone: %w", registry.ErrUnreachable)
	}
	return nil
}

// count is how many versions this server has made.
func (p *publisher) count() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strconv.AppendInt(nil, int64(p.made), 10)
}

// wait takes the time that was ordered. Under a minute, or if it is to be released, it does not care who has gone meanwhile: it is past
// the point where it counts.
func (p *publisher) wait(ctx context.Context, name string) error {
	p.mu.Lock()
	hold, gate := p.hold[name], p.gates[name]
	p.mu.Unlock()
	if hold == 0 && gate == nil {
		return nil
	}
	p.holds(1)
	defer p.holds(-1)
	if gate != nil {
		<-gate
		return nil
	}
	if hold < time.Minute {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-time.After(hold):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("store the body: %w", ctx.Err())
	}
}

func (p *publisher) holds(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held += n
}

// holding is how many wait.
func (p *publisher) holding() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strconv.AppendInt(nil, int64(p.held), 10)
}

func (p *publisher) publish(ctx context.Context, pub Publication) (disk.Entry, error) {
	if err := p.wait(ctx, string(pub.Name)); err != nil {
		return disk.Entry{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	file := disk.File{Kind: pub.Name.Kind(), Name: string(pub.Name)}
	if pub.Decider != "" {
		file = disk.File{Kind: registry.Decider, Name: pub.Decider}
		pub.Body, pub.Create = registry.FormatDecider(pub.Percent), true
	}
	current, exists := p.store.Current(file)
	switch {
	case pub.Remove && !exists:
		return disk.Entry{}, registry.ErrNotExist
	case pub.Remove:
		slog.Info("removal", "of", file.Name)
		return disk.Entry{}, p.store.Remove(file)
	case !exists && !pub.Create:
		return disk.Entry{}, registry.ErrNotExist
	case (exists || pub.Decider != "") && pub.CompareAndSet && current.Version != pub.Base:
		return disk.Entry{}, fmt.Errorf("version %s is current: %w", current.Version, registry.ErrConflict)
	case bytes.Contains(pub.Body, []byte("forbidden")):
		return disk.Entry{}, fmt.Errorf("a forbidden word: %w", registry.ErrInvalid)
	case exists && registry.Sum(pub.Body) == current.SHA256:
		return current, nil
	}
	return p.commit(file, pub.Body, pub.Author, pub.Message, pub.Origin)
}

func (p *publisher) commit(file disk.File, body []byte, author, message string, origin uint64) (disk.Entry, error) {
	current, _ := p.store.Current(file)
	entries, err := p.store.Commit(disk.Commit{
		File: file, Version: registry.NextVersion(time.Now(), current.Version), Order: current.Order + 1, Body: body,
		Author: author, Message: message, Published: time.Now(), Origin: origin,
	})
	if err != nil {
		return disk.Entry{}, err
	}
	slog.Info("version", "of", file.Name)
	p.made++
	return entries[0], nil
}

func (p *publisher) edit(ctx context.Context, e Edit) error {
	if err := p.wait(ctx, string(e.Dependency)); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slog.Info("edit", "kind", e.Kind, "of", e.Dependency, "edge", e.Edge)
	switch e.Kind {
	case MakeDependency:
		if strings.HasPrefix(string(e.Dependency), "elsewhere") {
			return fmt.Errorf("%s exists: %w", e.Dependency, registry.ErrExist)
		}
		p.edges[e.Dependency] = nil
		return p.store.SetGraph(p.edges)
	case DeleteDependency:
		if e.Dependency == "held.dep" {
			return fmt.Errorf("held.dep is in web.dep: %w", registry.ErrInvalid)
		}
		delete(p.edges, e.Dependency)
		return p.store.SetGraph(p.edges)
	}
	var edges []registry.Edge
	for _, edge := range p.edges[e.Dependency] {
		if edge != e.Edge {
			edges = append(edges, edge)
		}
	}
	if e.Kind == Subscribe {
		edges = append(edges, e.Edge)
	}
	p.edges[e.Dependency] = edges
	return p.store.SetGraph(p.edges)
}

// ServeHTTP is how a test acts as the rest of the fleet.
func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	q := r.URL.Query()
	switch r.URL.Path {
	case "/publish":
		kind := map[string]registry.Kind{"config": registry.Config, "serverset": registry.Serverset, "decider": registry.Decider}[q.Get("kind")]
		var e disk.Entry
		if e, err = p.commit(disk.File{Kind: kind, Name: q.Get("name")}, body, "elsewhere@there", "remote", 0); err == nil {
			io.WriteString(w, string(e.Version))
		}
	case "/remove":
		file := disk.File{Kind: registry.Config, Name: q.Get("name")}
		if q.Get("kind") == "decider" {
			file.Kind = registry.Decider
		}
		err = p.store.Remove(file)
	case "/ungraph":
		delete(p.edges, registry.Dependency(q.Get("dep")))
		err = p.store.SetGraph(p.edges)
	case "/graph":
		dep := registry.Dependency(q.Get("dep"))
		p.edges[dep] = nil
		for _, edge := range strings.Fields(string(body)) {
			p.edges[dep] = append(p.edges[dep], registry.Edge(edge))
		}
		err = p.store.SetGraph(p.edges)
	case "/past":
		err = p.addPast(q.Get("name"), q.Get("version"), body)
	case "/members":
		if err = os.WriteFile(p.file("new"), body, 0o644); err == nil {
			err = os.Rename(p.file("new"), p.file("members-"+q.Get("name")))
		}
	case "/hold":
		p.hold[q.Get("name")], err = time.ParseDuration(string(body))
	case "/gate":
		p.gates[q.Get("name")] = make(chan struct{})
	case "/release":
		close(p.gates[q.Get("name")])
		delete(p.gates, q.Get("name"))
	case "/quiet":
		if n := len(p.store.Unannounced()) + len(p.store.Removed()); n > 0 {
			err = fmt.Errorf("%d files not announced yet", n)
		} else if !reflect.DeepEqual(p.store.AnnouncedGraph(), p.store.Graph()) {
			err = errors.New("the graph is not announced yet")
		}
	case "/down":
		if err = os.Remove(p.file("down")); string(body) == "yes" {
			err = os.WriteFile(p.file("down"), nil, 0o644)
		}
	default:
		err = errors.New("no such order")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
