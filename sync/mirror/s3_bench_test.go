package mirror_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
)

var benchmarkSizes = map[string]int{"1KB": 1 << 10, "64KB": 64 << 10, "1MB": 1 << 20}

// BenchmarkS3Put is what a put costs beside the same PUT of net/http, signed before.
func BenchmarkS3Put(b *testing.B) {
	srv := startS3(b)
	for name, size := range benchmarkSizes {
		data := bytes.Repeat([]byte("x"), size)
		b.Run("size="+name+"/by=S3", func(b *testing.B) {
			s := openS3(b, options(srv))
			full := body(string(data))
			must(b, s.Put(b.Context(), "proof"+name, full)) // after which the server is known
			for i := 0; b.Loop(); i++ {
				must(b, s.Put(b.Context(), fmt.Sprint("data/", time.Now().UnixNano(), "/", i), full))
			}
		})
		b.Run("size="+name+"/by=http", func(b *testing.B) {
			sign, do := plain(b, srv)
			requests := make([]*http.Request, b.N)
			for i := range requests {
				requests[i] = sign(fmt.Sprint("plain/", time.Now().UnixNano(), "/", i), bytes.NewReader(data))
			}
			b.ResetTimer()
			for _, r := range requests {
				do(r)
			}
		})
	}
}

// BenchmarkS3Fetch is what a fetch costs beside a GET of net/http.
func BenchmarkS3Fetch(b *testing.B) {
	srv := startS3(b)
	for name, size := range benchmarkSizes {
		s := openS3(b, options(srv))
		must(b, s.Put(b.Context(), name, body(strings.Repeat("x", size))))
		b.Run("size="+name+"/by=S3", func(b *testing.B) {
			for b.Loop() {
				holdsBytes(b, size)(s.Fetch(b.Context(), name))
			}
		})
		b.Run("size="+name+"/by=http", func(b *testing.B) {
			sign, do := plain(b, srv)
			request := sign(name, nil)
			for b.Loop() {
				if n := do(request); n != int64(size) {
					b.Fatalf("%d bytes", n)
				}
			}
		})
	}
}

func holdsBytes(b *testing.B, size int) func(registry.Body, error) {
	return func(got registry.Body, err error) {
		must(b, err)
		if len(got.Data) != size {
			b.Fatalf("%d bytes", len(got.Data))
		}
	}
}

// plain is a client that knows nothing but HTTP, and who signs for it: a PUT of data, if there are any, or a GET.
func plain(b *testing.B, srv *server.S3Server) (sign func(key string, data io.Reader) *http.Request, do func(*http.Request) int64) {
	presign := s3.NewPresignClient(s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &srv.Endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(srv.AccessKey, srv.SecretKey, ""),
	}))
	sign = func(key string, data io.Reader) *http.Request {
		var signed *v4.PresignedHTTPRequest
		var err error
		if data == nil {
			signed, err = presign.PresignGetObject(b.Context(), &s3.GetObjectInput{Bucket: &srv.Bucket, Key: &key})
		} else {
			signed, err = presign.PresignPutObject(b.Context(), &s3.PutObjectInput{
				Bucket: &srv.Bucket, Key: &key, IfNoneMatch: aws.String("*"), Metadata: map[string]string{"sha256": "none", "author": "ann@web1"},
			})
		}
		must(b, err)
		r, err := http.NewRequestWithContext(b.Context(), signed.Method, signed.URL, data)
		must(b, err)
		r.Header = signed.SignedHeader
		return r
	}
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	do = func(request *http.Request) int64 {
		response, err := client.Do(request)
		must(b, err)
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		must(b, err)
		if response.StatusCode != http.StatusOK {
			b.Fatal(response.Status)
		}
		return n
	}
	return sign, do
}
