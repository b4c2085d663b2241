package mirror

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/kingpinfs/kingpin/registry"
)

// S3Options say which bucket, and how to reach it. All but Bucket may be left out: then the SDK's own settings and
// credential chain count.
type S3Options struct {
	Bucket    string
	Endpoint  string // URL of any S3-compatible server
	Region    string // "": the SDK's, or us-east-1 with an Endpoint
	PathStyle bool   // bucket in the path instead of the host name
	KeyFile   string // INI file of the Python KingPin, [Credentials] with aws_access_key_id and aws_secret_access_key
	MaxBody   int64  // bytes of the largest body that is fetched, 0: DefaultMaxBody
}

// S3 keeps bodies in a bucket. A body is put once and never changed, so it may be fetched again and again, from any copy.
type S3 struct {
	client  *s3.Client
	bucket  string
	maxBody int64
}

const (
	// attempts and maxPause bound what one request tries by itself. Whoever asked tries again later.
	attempts = 3
	maxPause = 500 * time.Millisecond

	// maxMetaValue bounds one metadata value; S3 takes 2 KB for all of them.
	maxMetaValue = 1000

	// octets is the type of every object, as the Python KingPin put them.
	octets = "application/octet-stream"
)

// The metadata of a body, where readers of the Python KingPin do not look. Values are percent-encoded: headers are ASCII.
const (
	metaSHA256    = "sha256"
	metaAuthor    = "author"
	metaMessage   = "message"
	metaPublished = "published"
)

// OpenS3 makes the store; it does not reach out to it.
func OpenS3(ctx context.Context, o S3Options) (*S3, error) {
	if o.Bucket == "" {
		return nil, fmt.Errorf("an S3 store needs a bucket: %w", registry.ErrInvalid)
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(r *retry.StandardOptions) {
				r.MaxAttempts, r.MaxBackoff = attempts, maxPause
			})
		}),
	}
	if o.Region == "" && o.Endpoint != "" {
		o.Region = "us-east-1"
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.KeyFile != "" {
		id, secret, err := readKeyFile(o.KeyFile)
		if err != nil {
			return nil, err
		}
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(id, secret, "")))
	}
	settings, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("settings for S3: %w", err)
	}
	if settings.Region == "" {
		return nil, fmt.Errorf("S3 needs a region: --s3-region, or AWS_REGION: %w", registry.ErrInvalid)
	}
	client := s3.NewFromConfig(settings, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			so.BaseEndpoint = &o.Endpoint
		}
		// Checksums of the SDK's own travel in trailers that many S3-compatible servers do not take; bodies have ours.
		so.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		so.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return &S3{client: client, bucket: o.Bucket, maxBody: o.MaxBody}, nil
}

// Put stores a body under a key that nothing is stored under yet. The same bytes again are fine: an attempt whose answer was
// lost has put them. Other bytes are ErrExist.
func (s *S3) Put(ctx context.Context, key string, b registry.Body) error {
	sum := b.Meta.SHA256
	if sum == (registry.Checksum{}) {
		sum = registry.Sum(b.Data)
	}
	meta := map[string]string{metaSHA256: hex.EncodeToString(sum[:])}
	if b.Meta.Author != "" {
		meta[metaAuthor] = encodeMeta(b.Meta.Author)
	}
	if b.Meta.Message != "" {
		meta[metaMessage] = encodeMeta(b.Meta.Message)
	}
	if !b.Meta.Published.IsZero() {
		meta[metaPublished] = b.Meta.Published.UTC().Format(time.RFC3339Nano)
	}
	err := s.put(ctx, key, b.Data, meta, true)
	if code(err) != http.StatusPreconditionFailed {
		return err
	}
	there, err := s.Fetch(ctx, key)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(there.Data, b.Data):
		return fmt.Errorf("put %s: other bytes are stored there: %w", key, registry.ErrExist)
	}
	return nil
}

// PutIndex repeats the current version of a pointer beside its bodies.
func (s *S3) PutIndex(ctx context.Context, key string, v registry.Version) error {
	return s.put(ctx, key, []byte(v), nil, false)
}

func (s *S3) put(ctx context.Context, key string, data []byte, meta map[string]string, once bool) error {
	sum := md5.Sum(data)
	in := &s3.PutObjectInput{
		Bucket:        &s.bucket,
		Key:           &key,
		Body:          bytes.NewReader(data),
		ContentLength: aws.Int64(int64(len(data))),
		ContentMD5:    aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ContentType:   aws.String(octets),
		Metadata:      meta,
	}
	if once {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := s.client.PutObject(ctx, in)
	return s3Error(ctx, "put", key, err)
}

// Fetch returns a body, checked against the checksum that it was put with. A body that the Python KingPin put has none.
func (s *S3) Fetch(ctx context.Context, key string) (registry.Body, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return registry.Body{}, s3Error(ctx, "get", key, err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, s.maxBody+1))
	switch {
	case err != nil:
		return registry.Body{}, s3Error(ctx, "get", key, err)
	case int64(len(data)) > s.maxBody:
		return registry.Body{}, fmt.Errorf("get %s: more than %d bytes: %w", key, s.maxBody, registry.ErrTooLarge)
	case out.ContentLength != nil && int64(len(data)) != *out.ContentLength:
		return registry.Body{}, fmt.Errorf("get %s: %d bytes of %d: %w", key, len(data), *out.ContentLength, registry.ErrUnreachable)
	}
	meta := registry.Meta{Author: decodeMeta(out.Metadata[metaAuthor]), Message: decodeMeta(out.Metadata[metaMessage])}
	if at, err := time.Parse(time.RFC3339Nano, out.Metadata[metaPublished]); err == nil {
		meta.Published = at
	}
	if n, err := hex.Decode(meta.SHA256[:], []byte(out.Metadata[metaSHA256])); err != nil || n == 0 {
		meta.SHA256 = registry.Checksum{}
	} else if meta.SHA256 != registry.Sum(data) {
		return registry.Body{}, fmt.Errorf("get %s: %w", key, registry.ErrChecksum)
	}
	return registry.Body{Data: data, Meta: meta}, nil
}

// Reach asks for the bucket, to see whether it would answer.
func (s *S3) Reach(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	return s3Error(ctx, "reach bucket", s.bucket, err)
}

// s3Error says in the registry's errors what went wrong. What may be over in a moment is ErrUnreachable.
func s3Error(ctx context.Context, did, key string, err error) error {
	if err == nil {
		return nil
	}
	kind := registry.ErrUnreachable
	switch status := code(err); {
	case ctx.Err() != nil:
		kind = ctx.Err()
	case status == http.StatusNotFound:
		kind = registry.ErrNotExist
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		kind = registry.ErrPermission
	case status == http.StatusRequestEntityTooLarge:
		kind = registry.ErrTooLarge
	}
	return &s3Failure{did: did, key: key, kind: kind, err: err}
}

// s3Failure is short for people and whole for errors.Is and errors.As.
type s3Failure struct {
	did, key string
	kind     error
	err      error
}

func (f *s3Failure) Error() string {
	var api smithy.APIError
	if errors.As(f.err, &api) {
		return fmt.Sprintf("S3: %s %s: %s: %s", f.did, f.key, api.ErrorCode(), f.kind)
	}
	return fmt.Sprintf("S3: %s %s: %s: %s", f.did, f.key, root(f.err), f.kind)
}

func (f *s3Failure) Unwrap() []error { return []error{f.kind, f.err} }

// root is the innermost error: what the network said, without the SDK's chain of what it was doing.
func root(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// code is the HTTP status of a failed request; 0 if none came back.
func code(err error) int {
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

func encodeMeta(value string) string {
	encoded := url.PathEscape(value)
	if len(encoded) <= maxMetaValue {
		return encoded
	}
	short := []rune(value)
	for len(encoded) > maxMetaValue {
		short = short[:len(short)*9/10]
		encoded = url.PathEscape(string(short) + "...")
	}
	return encoded
}

func decodeMeta(value string) string {
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}
