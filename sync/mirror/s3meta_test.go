package mirror

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kingpinfs/kingpin/registry"
)

// Whatever Publish lets through fits, and comes back as it was said.
func FuzzMetadata(f *testing.F) {
	f.Add("ann@web1", "why not? 100 %\n")
	f.Add(strings.Repeat("漢", 85), strings.Repeat("字", 341))
	f.Add(" base64:", "base64:bm8")
	f.Add("=?utf-8?q?x?=", "  \x00\xff%41")
	f.Fuzz(func(t *testing.T, author, message string) {
		m := registry.Meta{SHA256: registry.Sum(nil), Author: author, Message: message, Published: time.Unix(1795303378, 123456789).UTC()}
		packed := packMeta(m)
		size := 0
		for name, value := range packed {
			size += len("x-amz-meta-") + len(name) + len(value)
			for i, c := range []byte(value) {
				if c < ' ' || c > '~' || c == ' ' && (i == 0 || i == len(value)-1 || value[i-1] == ' ') {
					t.Errorf("%s: %q is no header's value", name, value)
				}
			}
		}
		if size > maxMeta {
			t.Errorf("%d bytes of metadata", size)
		}
		got, err := unpackMeta(packed)
		if err != nil || got.SHA256 != m.SHA256 || !got.Published.Equal(m.Published) {
			t.Errorf("came back %+v, %v", got, err)
		}
		if len(author) <= maxAuthor && len(message) <= maxMessage && got != m {
			t.Errorf("said %+q by %+q, came back %+q by %+q", message, author, got.Message, got.Author)
		}
		if utf8.ValidString(message) && !utf8.ValidString(got.Message) {
			t.Errorf("%q was cut within a letter: %q", message, got.Message)
		}
	})
}

// FuzzForeignMetadata: what others have put there is read, or refused, and stays small.
func FuzzForeignMetadata(f *testing.F) {
	f.Add("e3b0c442", "ann%40web1", "base64:!!", "yesterday")
	f.Fuzz(func(t *testing.T, sum, author, message, published string) {
		got, err := unpackMeta(map[string]string{metaSHA256: sum, metaAuthor: author, metaMessage: message, metaPublished: published})
		if err == nil && len(sum) != 64 {
			t.Errorf("%q was taken for a checksum", sum)
		}
		if len(got.Author) > maxMetaValue || len(got.Message) > maxMetaValue {
			t.Errorf("%d bytes of author, %d of message", len(got.Author), len(got.Message))
		}
	})
}

// The bucket is in the host's name, as the Python KingPin put it there, or in the path, as other servers want it.
func TestS3Addressing(t *testing.T) {
	type call struct{ host, path string }
	calls := make(chan call, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { calls <- call{r.Host, r.URL.Path} }))
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for _, c := range []struct {
		o    S3Options
		want call
	}{
		{S3Options{Bucket: "kpbucket", Region: "eu-west-1"}, call{"kpbucket.s3.eu-west-1.amazonaws.com", "/data/x"}},
		{S3Options{Bucket: "kpbucket", Region: "eu-west-1", PathStyle: true}, call{"s3.eu-west-1.amazonaws.com", "/kpbucket/data/x"}},
		{S3Options{Bucket: "dotted.name", Region: "eu-west-1"}, call{"s3.eu-west-1.amazonaws.com", "/dotted.name/data/x"}}, // as no certificate fits
		{S3Options{Bucket: "kpbucket", Endpoint: "http://s3.example.com"}, call{"kpbucket.s3.example.com", "/data/x"}},
		{S3Options{Bucket: "kpbucket", Endpoint: "http://s3.example.com", PathStyle: true}, call{"s3.example.com", "/kpbucket/data/x"}},
		{S3Options{Bucket: "kpbucket", Endpoint: "http://s3.example.com/below/", PathStyle: true}, call{"s3.example.com", "/below/kpbucket/data/x"}},
		{S3Options{Bucket: "kpbucket", Endpoint: "http://10.0.0.1:9000"}, call{"10.0.0.1:9000", "/kpbucket/data/x"}}, // no name to put it in
	} {
		s, err := OpenS3(t.Context(), c.o)
		if err != nil {
			t.Fatal(err)
		}
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
		}
		s.connections.transport.DialContext, s.connections.transport.DialTLSContext = dial, dial // in clear
		if _, err := s.Fetch(t.Context(), "data/x"); err != nil {
			t.Error(err)
			continue
		}
		s.Close()
		if got := <-calls; got != c.want {
			t.Errorf("%+v asks %+v, want %+v", c.o, got, c.want)
		}
	}
}
