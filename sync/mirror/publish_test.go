package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// write is a publication that says no more than it must.
func write(name registry.Name, content string) Publication {
	return Publication{Name: name, Body: []byte(content)}
}

func (m *machine) publish(p Publication) (version registry.Version) {
	m.w.Helper()
	e, err := m.Publish(m.w.Context(), p)
	m.w.must(err)
	return e.Version
}

// Promise 4: durable, current, and readable here at once.
func TestPublicationIsHereWhenItReturns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		other := w.boot("b", follows(web))
		p := write(spam, "casino")
		p.Author, p.Message, p.Origin = "ann@laptop", "too many of them", 7
		e, err := m.Publish(w.Context(), p)
		w.must(err)
		here, _ := m.entry("config/" + string(spam))
		if e != here || e.Stamp == 0 {
			t.Fatalf("returned %+v, on disk is %+v", e, here)
		}
		if e.Author != "ann@laptop" || e.Message != "too many of them" || e.Origin != 7 || e.Published.IsZero() {
			t.Errorf("entry %+v", e)
		}
		state, err := w.reg.State(w.Context(), spam.Pointer())
		w.must(err)
		if state.Version != e.Version || state.Order != e.Order {
			t.Errorf("registry is at %+v, entry %+v", state, e)
		}
		if index := m.wire.indexes[spam.Pointer().IndexKey()]; index != e.Version {
			t.Errorf("index is %s, want %s", index, e.Version)
		}
		m.has("config/"+string(spam), "casino")
		other.has("config/"+string(spam), "casino")
		there, _ := other.entry("config/" + string(spam))
		if there.Author != "ann@laptop" || there.Message != "too many of them" || there.Version != e.Version || there.Origin != 0 {
			t.Errorf("on the other machine it is %+v", there)
		}
		m.said(1, "msg=published", "version="+string(e.Version), "author=ann@laptop", "size=6", "took=")
	})
}

// Promise 4: no version and no event when the bytes are what they were.
func TestSameBytesMakeNoVersion(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		empty, err := m.Publish(w.Context(), write(spam, ""))
		w.must(err)
		if empty.Version != "" {
			t.Errorf("an empty body made version %s of a name that was never written", empty.Version)
		}
		first, err := m.Publish(w.Context(), write(spam, "casino"))
		w.must(err)
		again := write(spam, "casino")
		again.Base, again.CompareAndSet = first.Version, true
		second, err := m.Publish(w.Context(), again)
		w.must(err)
		if first != second {
			t.Errorf("first %+v, second %+v", first, second)
		}
		if s := m.Stats().Publications; s.OK != 1 || s.Same != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// Two machines add one to the same number, and come to the same bytes: the second one has lost, or an addition would be.
func TestLoserOfACompareAndSetIsToldThoughItsBytesAreThere(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		a, b := w.boot("a", follows(web)), w.boot("b", follows(web))
		base := a.publish(write(spam, "1"))
		b.has("config/"+string(spam), "1")
		for _, m := range []*machine{a, b} {
			two := write(spam, "2")
			two.Base, two.CompareAndSet = base, true
			_, err := m.Publish(w.Context(), two)
			if m == a {
				w.must(err)
			} else {
				w.is(err, registry.ErrConflict)
			}
		}
	})
}

// Promise 4: a write that lost a race says so and changed nothing.
func TestLoserOfACompareAndSetFindsTheWinnerAtHome(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		base := m.publish(write(spam, "one"))

		for name, late := range map[string]bool{"before it looked": false, "after it looked": true} {
			winner := "theirs " + name
			if late {
				m.wire.set(func(c *wire) {
					c.advance = func(call func() (registry.State, error)) (registry.State, error) {
						w.put(spam, winner)
						return call()
					}
				})
			} else {
				plug := m.wire.unplug() // the feed does not hear of it
				w.put(spam, winner)
				synctest.Wait()
				m.wire.set(func(c *wire) { c.deaf = true })
				plug()
			}
			loser := write(spam, "mine "+name)
			loser.Base, loser.CompareAndSet = base, true
			_, err := m.Publish(w.Context(), loser)
			w.is(err, registry.ErrConflict)
			if content, _ := m.read("config/" + string(spam)); content != winner {
				t.Errorf("%s: at home is %q, want %q", name, content, winner)
			}
			m.wire.set(func(c *wire) { c.advance = nil })
			if !strings.Contains(err.Error(), string(base)) {
				t.Errorf("error %q does not say what it was made from", err)
			}
			here, _ := m.entry("config/" + string(spam))
			loser.Base = here.Version // rebase
			base = m.publish(loser)
			m.has("config/"+string(spam), "mine "+name)
		}
	})
}

func TestLastWriterWinsOverWhoeverCameBetween(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		rivals := 3
		m.wire.set(func(c *wire) {
			c.advance = func(call func() (registry.State, error)) (registry.State, error) {
				if rivals > 0 {
					rivals--
					w.put(spam, fmt.Sprint("rival ", rivals))
				}
				return call()
			}
		})
		m.publish(write(spam, "mine"))
		m.has("config/"+string(spam), "mine")
		if s := m.Stats(); s.Races != 3 || s.Publications.OK != 1 {
			t.Errorf("%d races, %d published", s.Races, s.Publications.OK)
		}
	})
}

func TestWritersOfOneNameTakeTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		machines := []*machine{w.boot("a", follows(web)), w.boot("b", follows(web))}
		var writers sync.WaitGroup
		var mu sync.Mutex
		versions := map[registry.Version]string{}
		for i := range 20 {
			writers.Go(func() {
				content := fmt.Sprint("writer ", i)
				e, err := machines[i%2].Publish(w.Context(), write(spam, content))
				w.must(err)
				mu.Lock()
				defer mu.Unlock()
				versions[e.Version] = content
			})
		}
		writers.Wait()
		if len(versions) != 20 {
			t.Fatalf("%d versions of 20 publications", len(versions))
		}
		state, err := w.reg.State(w.Context(), spam.Pointer())
		w.must(err)
		for _, m := range machines {
			m.has("config/"+string(spam), versions[state.Version])
		}
	})
}

// The follow loop must not commit a local publication first: its origin would be lost, and the writer told of his own write.
func TestFollowLoopLeavesALocalPublicationAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) {
			c.index = func() error { // after the commit: the feed has the word, and all the time in the world
				<-time.After(time.Second)
				return nil
			}
		})
		p := write(spam, "casino")
		p.Origin = 7
		e, err := m.Publish(w.Context(), p)
		w.must(err)
		synctest.Wait()
		here, _ := m.entry("config/" + string(spam))
		if e.Origin != 7 || here != e {
			t.Errorf("returned %+v, on disk is %+v", e, here)
		}
		m.isIn(spam, Current)
		if len(m.wire.fetched) != 0 {
			t.Errorf("fetched %v: its own", m.wire.fetched)
		}
	})
}

// Nor must a feed that lags behind a publication be taken for a registry that went back.
func TestSlowFeedDoesNotHoldALocalPublication(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.assemble("a", follows(web))
		m.wire.deaf = true
		m.run()
		m.has("config/"+string(spam), "")
		m.publish(write(spam, "casino"))
		m.isIn(spam, Current)
		if n := m.Stats().Holds; n != 0 {
			t.Errorf("held %d times", n)
		}
	})
}

// The connection is lost while the pointer moves: the token tells what came of it.
func TestPublishWithEverythingAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.publish(write(spam, "one"))
		plug := m.wire.unplug()
		_, err := m.Publish(w.Context(), write(spam, "two"))
		w.is(err, registry.ErrUnreachable)
		w.is(m.Writable(), registry.ErrUnreachable)
		m.has("config/"+string(spam), "one")
		plug()
		w.passes(time.Minute)
		m.has("config/"+string(spam), "one") // what was refused changed nothing

		away := func(string) error { return errCut }
		m.wire.set(func(c *wire) { c.put, c.fetch = away, away })
		_, err = m.Publish(w.Context(), write(spam, "two"))
		w.is(err, registry.ErrUnreachable)
		w.is(m.Writable(), registry.ErrUnreachable)
		if s := m.Stats().Publications; s.Unreachable != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestPublicationsThatAreRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam, user)
		m := w.boot("a", Options{Dependencies: []registry.Dependency{web}, MaxBody: 5000})
		m.publish(write(spam, strings.Repeat("x", 2000)))
		for name, test := range map[string]struct {
			p     Publication
			err   error
			words string
		}{
			"no such name":        {write(ham, "x"), registry.ErrNotExist, "kingpin create"},
			"no name at all":      {write("spam", "x"), registry.ErrInvalid, "spam"},
			"a serverset":         {write(user, "10.0.0.1:80"), registry.ErrInvalid, "register"},
			"over the limit":      {write(spam, strings.Repeat("y", 5001)), registry.ErrTooLarge, "5001 bytes, at most 5000"},
			"empties it":          {write(spam, ""), registry.ErrInvalid, "would empty"},
			"a tenth of it":       {write(spam, strings.Repeat("y", 199)), registry.ErrInvalid, "from 2000 bytes to 199"},
			"no deciders":         {write(registry.DeciderName, `{"x": 250}`), registry.ErrInvalid, "250"},
			"a novel for message": {Publication{Name: spam, Body: []byte("z"), Message: strings.Repeat("m", 2000)}, registry.ErrInvalid, "message"},
			"a base of nonsense":  {Publication{Name: spam, Body: []byte("z"), Base: "../x"}, registry.ErrInvalid, "base"},
		} {
			_, err := m.Publish(w.Context(), test.p)
			if try := m.Try(w.Context(), test.p); fmt.Sprint(try) != fmt.Sprint(err) {
				t.Errorf("%s: tried %v, published %v", name, try, err)
			}
			if !errors.Is(err, test.err) || !strings.Contains(fmt.Sprint(err), test.words) {
				t.Errorf("%s: %v, want %q and %v", name, err, test.words, test.err)
			}
		}
		m.has("config/"+string(spam), strings.Repeat("x", 2000))
		w.must(m.Try(w.Context(), write(spam, strings.Repeat("y", 200))))
		m.has("config/"+string(spam), strings.Repeat("x", 2000)) // a try changes nothing
		m.publish(write(spam, strings.Repeat("y", 200)))         // just a tenth
		forced := write(spam, "")
		forced.Force = true
		m.publish(forced)
		m.has("config/"+string(spam), "")
		m.publish(write(spam, "small"))
		m.publish(write(spam, "s")) // what is small anyway may become smaller
	})
}

// A config that is broken in the store is mended by publishing it again.
func TestBrokenVersionCanBeReplaced(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.publish(write(spam, "one"))
		m.wire.set(func(c *wire) { c.fetch = func(string) error { return registry.ErrChecksum } })
		w.put(spam, "two, but its body is lost")
		m.isIn(spam, Held)
		m.publish(write(spam, "three"))
		m.has("config/"+string(spam), "three")
		m.isIn(spam, Current)
	})
}

func TestPublishWhatIsNotFollowedHere(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		w.make(api, ham)
		m := w.boot("a", follows(web))
		other := w.boot("b", follows(api))
		e, err := m.Publish(w.Context(), write(ham, "mother"))
		w.must(err)
		if e.Stamp != 0 || e.Version == "" {
			t.Errorf("entry %+v of a name that is not here", e)
		}
		m.hasNot("config/" + string(ham))
		other.has("config/"+string(ham), "mother")
		again, err := m.Publish(w.Context(), write(ham, "mother"))
		w.must(err)
		if again.Version != e.Version {
			t.Errorf("the same bytes became %s, were %s", again.Version, e.Version)
		}
		_, err = m.Publish(w.Context(), write(ham, ""))
		w.is(err, registry.ErrInvalid)
	})
}

func TestPublishedButTheDiskRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		m.wire.set(func(c *wire) {
			c.advance = func(call func() (registry.State, error)) (registry.State, error) {
				w.must(m.disk.Close())
				return call()
			}
		})
		_, err := m.Publish(w.Context(), write(spam, "casino"))
		if err == nil || !strings.Contains(err.Error(), "published as") {
			t.Errorf("error %v, want one that says it was published", err)
		}
		if n := m.Stats().Publications.Undelivered; n != 1 {
			t.Errorf("%d undelivered, want 1", n)
		}
	})
}

func TestLargestBodyGoesThrough(t *testing.T) {
	inWorld(t, func(w *world) {
		w.make(web, spam)
		m := w.boot("a", follows(web))
		other := w.boot("b", follows(web))
		big := bytes.Repeat([]byte("0123456789abcdef"), DefaultMaxBody/16)
		_, err := m.Publish(w.Context(), Publication{Name: spam, Body: big})
		w.must(err)
		other.has("config/"+string(spam), string(big))
	})
}
