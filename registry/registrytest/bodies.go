package registrytest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

var bodyTests = map[string]func(t *testing.T, a, b Registry){
	"a body is what it was, with all that was said of it": testBodyMeta,
	"a body of an old writer has no meta":                 testBodyPlain,
	"a body never changes":                                testBodyImmutable,
	"of eight writers of one key one wins":                testBodyRace,
	"bodies from nothing to 16 MiB":                       testBodySizes,
	"a body that is not there":                            testBodyMissing,
	"a body that fails its checksum is not handed out":    testBodyChecksum,
	"a key may be the beginning of another":               testBodyBelow,
	"a caller may do what he likes with his bytes":        testBodyOwned,
	"the versions of a name are listed, the newest first": testBodyList,
	"a body is looked at without its bytes":               testBodyStat,
}

// noise is n bytes that no compression makes smaller, the same for the same n.
func noise(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(data)
	return data
}

func described(data []byte) registry.Body {
	return registry.Body{Data: data, Meta: registry.Meta{
		SHA256:    registry.Sum(data),
		Author:    "jürgen.李@laptop",
		Message:   "why: \"λ\" = 😀,\n\tand a second line; 100 % of it=+/\\",
		Published: time.Unix(1795296152, 123456789).UTC(),
		Replaces:  v3,
	}}
}

// stored checks that a body is there as it was put.
func stored(t *testing.T, r Registry, key string, want registry.Body) {
	t.Helper()
	got, err := r.Fetch(t.Context(), key)
	switch {
	case err != nil:
		t.Errorf("fetch %s: %v", key, err)
	case !bytes.Equal(got.Data, want.Data):
		t.Errorf("fetch %s: %d bytes that differ from the %d put", key, len(got.Data), len(want.Data))
	case got.Meta.SHA256 != want.Meta.SHA256 || got.Meta.Author != want.Meta.Author || got.Meta.Message != want.Meta.Message ||
		!got.Meta.Published.Equal(want.Meta.Published) || got.Meta.Replaces != want.Meta.Replaces:
		t.Errorf("fetch %s: meta %+v, want %+v", key, got.Meta, want.Meta)
	}
}

func testBodyMeta(t *testing.T, a, b Registry) {
	key, body := blacklist.Pointer().Key(v1), described([]byte(`{"1.2.3.4": "\u0000"}`+"\n\x00\xff"))
	must(t, a.Put(t.Context(), key, body))
	stored(t, a, key, body)
	stored(t, b, key, body)
}

func testBodyPlain(t *testing.T, a, b Registry) {
	key, body := blacklist.Pointer().Key(v3), registry.Body{Data: []byte("1.2.3.4\n")}
	must(t, a.Put(t.Context(), key, body))
	stored(t, b, key, body)
}

func testBodyImmutable(t *testing.T, a, b Registry) {
	ctx, key, body := t.Context(), blacklist.Pointer().Key(v1), described([]byte("first"))
	must(t, a.Put(ctx, key, body))
	must(t, a.Put(ctx, key, body))
	again := described([]byte("first"))
	again.Meta.Author, again.Meta.Message = "somebody@else", "a retry that had lost the answer"
	must(t, b.Put(ctx, key, again))
	for _, data := range []string{"secnd", "first ", "firs", ""} {
		refused(t, b.Put(ctx, key, described([]byte(data))), registry.ErrExist, fmt.Sprintf("put %q over %q", data, body.Data))
	}
	stored(t, a, key, body)
	stored(t, b, key, body)
}

func testBodyRace(t *testing.T, a, b Registry) {
	key := blacklist.Pointer().Key(v1)
	won := make(chan registry.Body, writers)
	race(a, b, func(writer int, r Registry) {
		body := described(fmt.Append(nil, "of writer ", writer))
		switch err := r.Put(t.Context(), key, body); {
		case err == nil:
			won <- body
		case !errors.Is(err, registry.ErrExist):
			t.Errorf("writer %d: %v", writer, err)
		}
	})
	if len(won) != 1 {
		t.Fatalf("%d of %d have stored their bytes", len(won), writers)
	}
	stored(t, a, key, <-won)
}

func testBodySizes(t *testing.T, a, b Registry) {
	var keys []string
	sizes := []int{0, 1, 1 << 10, 4096, 1<<15 - 1, 1 << 15, 1<<15 + 1, 1 << 20, 16 << 20}
	for i, size := range sizes {
		keys = append(keys, blacklist.Pointer().Key(token(0, i)))
		must(t, a.Put(t.Context(), keys[i], described(noise(size))))
	}
	for i, size := range sizes {
		stored(t, b, keys[i], described(noise(size)))
	}
}

func testBodyMissing(t *testing.T, a, _ Registry) {
	_, err := a.Fetch(t.Context(), blacklist.Pointer().Key(v1))
	refused(t, err, registry.ErrNotExist, "fetch")
	for _, key := range []string{"", strings.Repeat("a", 2000)} {
		refused(t, a.Put(t.Context(), key, described(nil)), registry.ErrInvalid, fmt.Sprintf("put a key of %d bytes", len(key)))
		if _, err := a.Fetch(t.Context(), key); err == nil {
			t.Errorf("fetched a key of %d bytes", len(key))
		}
	}
}

func testBodyChecksum(t *testing.T, a, b Registry) {
	key, body := blacklist.Pointer().Key(v1), described([]byte("what was meant"))
	body.Data = []byte("what was sent!")
	if err := a.Put(t.Context(), key, body); err != nil {
		refused(t, err, registry.ErrChecksum, "put") // found out early
		return
	}
	got, err := b.Fetch(t.Context(), key)
	refused(t, err, registry.ErrChecksum, "fetch")
	if len(got.Data) != 0 {
		t.Errorf("fetch returned %q with its error", got.Data)
	}
}

func testBodyBelow(t *testing.T, a, b Registry) {
	above, below := described([]byte("above")), described([]byte("below"))
	must(t, a.Put(t.Context(), "data/config/a", above))
	must(t, a.Put(t.Context(), "data/config/a/b", below))
	stored(t, b, "data/config/a", above)
	stored(t, b, "data/config/a/b", below)
}

func testBodyOwned(t *testing.T, a, _ Registry) {
	key, body := blacklist.Pointer().Key(v1), described([]byte("as it was put"))
	mine := bytes.Clone(body.Data)
	must(t, a.Put(t.Context(), key, registry.Body{Data: mine, Meta: body.Meta}))
	mine[0] = 'X'
	fetched, err := a.Fetch(t.Context(), key)
	must(t, err)
	for i := range fetched.Data {
		fetched.Data[i] = 'Y'
	}
	stored(t, a, key, body)
}

func testBodyList(t *testing.T, a, b Registry) {
	ctx, p := t.Context(), blacklist.Pointer()
	list := func(most int) (versions []registry.Version) {
		t.Helper()
		stored, err := b.List(ctx, p.Key(""), most)
		must(t, err)
		for _, s := range stored {
			v, ok := p.VersionOf(s.Key)
			if !ok {
				t.Errorf("%s is listed among the versions of %s", s.Key, p)
			}
			if size := int64(len(v)); s.Size != size {
				t.Errorf("version %s is listed with %d bytes, it has %d", v, s.Size, size)
			}
			versions = append(versions, v)
		}
		return versions
	}
	if got := list(10); len(got) != 0 {
		t.Errorf("versions %q before the first", got)
	}
	want := []registry.Version{"1795296152.9", "1795296152.52", "1795296152.123456789", "1426859717.71"}
	for _, v := range want {
		must(t, a.Put(ctx, p.Key(v), registry.Body{Data: []byte(v)}))
	}
	// Names that go on where this one ends, before and behind it.
	for _, key := range []string{"data/config/manageddata/spam/blacklist_old_1795296152/1", "data/config/manageddata/spam/blacklis_1795296152/1"} {
		must(t, a.Put(ctx, key, registry.Body{Data: []byte("a neighbour")}))
	}
	for _, most := range []int{10, 4, 3, 1} {
		if got := list(most); !slices.Equal(got, want[:min(most, len(want))]) {
			t.Errorf("the last %d versions are %q, want %q", most, got, want[:min(most, len(want))])
		}
	}
}

func testBodyStat(t *testing.T, a, b Registry) {
	key, body := blacklist.Pointer().Key(v1), described(noise(5000))
	_, err := b.Stat(t.Context(), key)
	refused(t, err, registry.ErrNotExist, "stat")
	must(t, a.Put(t.Context(), key, body))
	got, err := b.Stat(t.Context(), key)
	must(t, err)
	if want := body.Meta; got.Key != key || got.Size != 5000 || got.Meta != want {
		t.Errorf("stat %s: %+v, want %d bytes with %+v", key, got, 5000, want)
	}
}
