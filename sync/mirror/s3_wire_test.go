package mirror_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

var update = flag.Bool("update", false, "write the golden files anew")

// volatile headers differ from run to run, or say who asks.
var volatile = []string{
	"Authorization", "X-Amz-Date", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "User-Agent", "X-Amz-User-Agent",
	"Accept-Encoding", "X-Amz-Content-Sha256",
}

// recorder writes down what passes it.
type recorder struct {
	mu sync.Mutex
	bytes.Buffer
}

func (rec *recorder) listen(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(rec, "%s %s\n", r.Method, r.RequestURI)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if !slices.Contains(volatile, name) {
			fmt.Fprintf(rec, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
		}
	}
	fmt.Fprintf(rec, "\n%s\n\n", sent)
	r.Body = io.NopCloser(bytes.NewReader(sent))
	pass.ServeHTTP(w, r)
}

// TestS3GoldenPublish holds a publication to the bytes that the Python KingPin was recorded to send: the same keys, the same type, the
// same Content-MD5, the same bodies. What is more are If-None-Match and the metadata, at which it does not look.
func TestS3GoldenPublish(t *testing.T) {
	srv := startS3(t)
	var rec recorder
	s := openS3(t, through(srv, newTap(t, srv, rec.listen)))
	list := registry.Name("config.manageddata.app.lst")
	text := []byte(`["base", "two"]`)
	b := registry.Body{Data: text, Meta: registry.Meta{
		SHA256: registry.Sum(text), Author: "jürgen@web1", Message: "two more\n100 % sure 😀", Published: time.Unix(1795303378, 440000001),
	}}
	must(t, s.Put(t.Context(), "data/config/warm/up_1/1", registry.Body{})) // after which the server is known
	rec.Reset()

	must(t, s.Put(t.Context(), list.Pointer().Key("1795303378.44"), b))
	must(t, s.PutIndex(t.Context(), list.Pointer().IndexKey(), "1795303378.44"))
	must(t, s.Put(t.Context(), list.Metaconfig().Key("1795303378.440000001"), registry.Body{Data: []byte("[]")}))
	must(t, s.PutIndex(t.Context(), list.Metaconfig().IndexKey(), "1795303378.440000001"))
	holds(t, s, list.Pointer().Key("1795303378.44"), string(text))

	const golden = "testdata/s3.golden"
	if *update {
		must(t, os.WriteFile(golden, rec.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(rec.Bytes(), want) {
		t.Errorf("sent:\n%s\nwant:\n%s", rec.Bytes(), want)
	}
	// Recorded from the Python KingPin, boto 2.38.
	for _, line := range []string{
		"PUT /kpbucket/data/config/manageddata/app/lst_1795303378/44?x-id=PutObject\n",
		"Content-Md5: XSJMqJkG6Wp0G5eT0D5RUQ==\n", // of the body
		"Content-Type: application/octet-stream\n",
		"Content-Length: 15\n",
		"PUT /kpbucket/data/config/manageddata/app/lst?x-id=PutObject\n",
		"Content-Md5: O2R40Q0WfyCWFgj1IpXGAg==\n", // of the index
		"Content-Length: 13\n",
		"\n1795303378.44\n",
		"PUT /kpbucket/data/metaconfig/metaconfig/config/manageddata/app/lst_1795303378/440000001?x-id=PutObject\n",
		"PUT /kpbucket/data/metaconfig/metaconfig/config/manageddata/app/lst?x-id=PutObject\n",
		"GET /kpbucket/data/config/manageddata/app/lst_1795303378/44?x-id=GetObject\n",
	} {
		if !strings.Contains(rec.String(), line) {
			t.Errorf("never sent: %q", line)
		}
	}
	for _, header := range []string{"Content-Encoding", "X-Amz-Acl", "X-Amz-Checksum", "Transfer-Encoding", "X-Amz-Trailer", "X-Amz-Sdk-Checksum"} {
		if strings.Contains(rec.String(), header) {
			t.Errorf("%s was sent, which S3-compatible servers stumble over", header)
		}
	}
	stored, err := os.ReadFile(srv.Object("data/config/manageddata/app/lst"))
	if err != nil || string(stored) != "1795303378.44" {
		t.Errorf("the index holds %q, %v", stored, err)
	}
}

// A header is ASCII, S3 gives 2 KB for all, and servers differ in what they do to the rest: what was said has to come back.
func TestS3MetadataComeBack(t *testing.T) {
	srv := startS3(t)
	s := openS3(t, options(srv))
	var ascii []byte
	for c := range byte(128) {
		ascii = append(ascii, c)
	}
	for i, message := range []string{
		"plain words, as most are: \"quoted\" = 'so'; 50 % of <it> {[(~`!@#$^&*_+|\\?/.)]}",
		"two lines\nand a tab\there\r\n", " blank  at   the ends ", "+%41%zz%", "base64:bm8=", "=?UTF-8?B?bm8=?=", "=?", "%", "\x00", "\xff\xfe",
		"😀👩‍👩‍👧‍👦 é é ñ 漢字 \u202ertl", string(ascii), strings.Repeat("漢", 341), strings.Repeat("\x01", 1024), strings.Repeat("a ", 512),
	} {
		b := body("x")
		b.Meta.Author = strings.Repeat("ü", 128)
		b.Meta.Message = message
		key := blacklist.Key(registry.Version(fmt.Sprint("1.", i)))
		if err := s.Put(t.Context(), key, b); err != nil {
			t.Errorf("message %.40q: %v", message, err)
			continue
		}
		got, err := s.Fetch(t.Context(), key)
		if err != nil || got.Meta.Message != message || got.Meta.Author != b.Meta.Author {
			t.Errorf("said %q by %q, came back %q by %q, %v", message, b.Meta.Author, got.Meta.Message, got.Meta.Author, err)
		}
	}
	b := body("x")
	b.Meta.Author, b.Meta.Message = strings.Repeat("漢", 5000), strings.Repeat("字", 5000)
	must(t, s.Put(t.Context(), "long", b))
	got, err := s.Fetch(t.Context(), "long")
	if err != nil || !strings.HasPrefix(got.Meta.Author, "漢漢漢") || !strings.HasSuffix(got.Meta.Message, "字...") {
		t.Errorf("came back %q by %q, %v", got.Meta.Message, got.Meta.Author, err)
	}
}
