package embedded

import (
	"bytes"
	"compress/gzip"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
	bolt "go.etcd.io/bbolt"
)

var rewrite = flag.Bool("update", false, "write testdata anew")

// golden fills a registry with one of everything.
func golden(t *testing.T, path string) {
	ctx := t.Context()
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := registry.Name("config.manageddata.spam.blacklist")
	for _, err := range []error{
		r.Create(ctx, name.Pointer()),
		r.Create(ctx, name.Metaconfig()),
		r.CreateDependency(ctx, "web.dep"),
		r.Link(ctx, "web.dep", registry.Edge(name)),
		r.Put(ctx, name.Pointer().Key("1795296152.52"), goldenBody()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Advance(ctx, name.Pointer(), "", "1795296152.52", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func goldenBody() registry.Body {
	data := []byte(strings.Repeat("1.2.3.4\n", 10_000))
	return registry.Body{Data: data, Meta: registry.Meta{
		SHA256: registry.Sum(data), Author: "ann@laptop", Message: "schön", Published: time.Unix(1795296152, 520000000).UTC(),
	}}
}

// TestFilesOfTheFirstFormatAreRead reads a file that an earlier program has written.
func TestFilesOfTheFirstFormatAreRead(t *testing.T) {
	const stored = "testdata/format1.db.gz"
	path := filepath.Join(t.TempDir(), "registry.db")
	if *rewrite {
		golden(t, path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		w.Write(data)
		w.Close()
		if err := os.WriteFile(stored, packed.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	packed, err := os.Open(stored)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}

	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	names, err := r.Names(t.Context())
	if err != nil || !slices.Equal(names, []registry.Name{"config.manageddata.spam.blacklist"}) {
		t.Fatalf("names %q, %v", names, err)
	}
	s, err := r.State(t.Context(), names[0].Pointer())
	if err != nil || s.Version != "1795296152.52" {
		t.Errorf("state %+v, %v", s, err)
	}
	if b, err := r.Fetch(t.Context(), names[0].Pointer().Key(s.Version)); err != nil || !reflect.DeepEqual(b, goldenBody()) {
		t.Errorf("body of %d bytes, %+v, %v", len(b.Data), b.Meta, err)
	}
	for e, err := range r.Dependency(t.Context(), "web.dep") {
		if err != nil || !slices.Equal(e.Members, []registry.Edge{registry.Edge(names[0])}) {
			t.Errorf("edges %+v, %v", e, err)
		}
		break
	}
}

// TestANewerFormatIsRefused: a program that went back must not write what it does not understand.
func TestANewerFormatIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	golden(t, path)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(aboutBucket).Put(formatKey, seal(formatKey, []byte("2")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, Options{})
	if err == nil || !strings.Contains(err.Error(), "format 2") || !strings.Contains(err.Error(), "newer") {
		t.Errorf("open: %v", err)
	}
}

// FuzzHeader: whatever is decoded is encoded to the same again, and nothing makes it panic.
func FuzzHeader(f *testing.F) {
	b := goldenBody()
	good, err := header{number: 7, size: uint64(len(b.Data)), sum: registry.Sum(b.Data), meta: b.Meta}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHeader(data)
		if err != nil {
			return
		}
		again, err := h.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeHeader(again); err != nil || back != h {
			t.Errorf("%+v comes back as %+v, %v", h, back, err)
		}
	})
}
