package mirror

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/kingpinfs/kingpin/registry"
)

// S3Options say which bucket, and how to reach it. All but Bucket may be left out: then the SDK's own settings (environment,
// ~/.aws) and its credential chain count.
type S3Options struct {
	Bucket    string
	Endpoint  string       // URL of any S3-compatible server, "": AWS
	Region    string       // "": the SDK's, or us-east-1 with an Endpoint
	PathStyle bool         // bucket in the path instead of the host name, as most servers other than AWS want it
	KeyFile   string       // INI file of the Python KingPin; looked at again every minute, so keys may be changed under us
	MaxBody   int64        // bytes of the largest body that is fetched, 0: DefaultMaxBody
	Logger    *slog.Logger // nil: nothing is logged

	// Observe is told of every request: its method in lower case (get, put, head; list for a GET of the bucket), the status of the
	// answer (0: there was none), and how long that took. nil: nobody is.
	Observe func(op string, status int, took time.Duration)
}

// S3 keeps bodies in a bucket. A body is put once and never changed, so it may be fetched again and again, from any copy.
//
// That it is put once is the server's doing: a put says If-None-Match: *, which AWS and today's other servers honour. One that
// refuses the header, or takes it and overwrites, is told by its first put, warned of in the log, and from then on looked at
// before and after each put. Then two publishers may still overwrite each other, if they take the same version of the same name
// in the same few milliseconds; a version being a moment in nanoseconds, their clocks would have to agree to the last one.
type S3 struct {
	client      *s3.Client
	connections connections
	bucket      string
	where       string // the endpoint, for people
	pathStyle   bool
	maxBody     int64
	log         *slog.Logger
	once        atomic.Int32 // what is known of If-None-Match: unproven, kept, ignored
}

// What a server does with If-None-Match.
const (
	unproven int32 = iota
	kept
	ignored
)

// octets is the type of every object, as the Python KingPin put them.
const octets = "application/octet-stream"

// maxKey bounds a key in bytes, which is S3's own limit.
const maxKey = 1024

// OpenS3 makes the store; it does not reach out to it. Close it.
func OpenS3(ctx context.Context, o S3Options) (*S3, error) {
	if o.Bucket == "" {
		return nil, fmt.Errorf("S3 needs a bucket (--s3-bucket): %w", registry.ErrInvalid)
	}
	if u, err := url.Parse(o.Endpoint); o.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("S3 endpoint %q is not http://HOST:PORT or https://HOST:PORT (--s3-endpoint): %w", o.Endpoint, registry.ErrInvalid)
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	settings, err := s3Settings(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &S3{
		connections: newConnections(settings, o.Observe),
		bucket:      o.Bucket,
		where:       o.Endpoint,
		pathStyle:   o.PathStyle,
		maxBody:     o.MaxBody,
		log:         o.Logger,
	}
	s.client = s3.NewFromConfig(settings, func(so *s3.Options) {
		so.HTTPClient = s.connections
		so.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			so.BaseEndpoint = &o.Endpoint
		}
		if so.BaseEndpoint == nil {
			s.where = "AWS, " + settings.Region
			s.once.Store(kept)
		}
		// Checksums of the SDK's own travel in trailers that many S3-compatible servers do not take; bodies have ours.
		so.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		so.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return s, nil
}

// Skew is how far the server's clock is ahead of this machine's, as far as its last answer tells.
func (s *S3) Skew() time.Duration { return time.Duration(s.connections.skew.Load()) }

// s3Settings are the SDK's own, with ours on top.
func s3Settings(ctx context.Context, o S3Options) (aws.Config, error) {
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(httpClient()),
		config.WithRetryer(func() aws.Retryer { return newRetryer() }),
		config.WithLogger(logging.Nop{}), // what matters comes back as an error
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.KeyFile != "" {
		keys := &keyFile{path: o.KeyFile}
		if _, err := keys.Retrieve(ctx); err != nil {
			return aws.Config{}, err
		}
		load = append(load, config.WithCredentialsProvider(keys))
	}
	settings, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("settings for S3: %w: %w", err, registry.ErrInvalid)
	}
	if settings.Region == "" {
		if o.Endpoint == "" {
			return aws.Config{}, fmt.Errorf("S3 needs a region (--s3-region, or AWS_REGION): %w", registry.ErrInvalid)
		}
		settings.Region = "us-east-1"
	}
	chain := settings.Credentials
	settings.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := chain.Retrieve(ctx)
		if err != nil {
			err = fmt.Errorf("%w: %w", errNoCredentials, err)
		}
		return c, err
	})
	return settings, nil
}

// Close closes the connections that nobody uses. Calls that are under way go on.
func (s *S3) Close() { s.connections.transport.CloseIdleConnections() }

// Put stores a body under a key that nothing is stored under yet. The same bytes again are fine: an attempt whose answer was
// lost has put them. Other bytes are ErrExist.
func (s *S3) Put(ctx context.Context, key string, b registry.Body) error {
	if err := checkObjectKey(key); err != nil {
		return err
	}
	if size := int64(len(b.Data)); size > s.maxBody {
		return fmt.Errorf("S3: put %s: %d bytes, at most %d: %w", key, size, s.maxBody, registry.ErrTooLarge)
	}
	if s.once.Load() == ignored {
		return s.putWatchfully(ctx, key, b)
	}
	err := s.put(ctx, key, b, true)
	switch status := statusOf(err); {
	case status == http.StatusPreconditionFailed:
		s.once.Store(kept)
		return s.differs(ctx, key, b)
	case status == http.StatusNotImplemented:
		s.distrust()
		return s.putWatchfully(ctx, key, b)
	case err != nil && status == 0 && mayHaveArrived(err):
		// A server that refuses a large body before it has read it may reset the connection, and with it goes the refusal.
		if found := s.differs(ctx, key, b); found == nil || errors.Is(found, registry.ErrExist) {
			return found
		}
		return err
	case err != nil:
		return err
	}
	if s.once.Load() == unproven {
		s.prove(ctx, key, b)
	}
	return nil
}

// prove puts once more what was just put, which has to be refused.
func (s *S3) prove(ctx context.Context, key string, b registry.Body) {
	switch err := s.put(ctx, key, b, true); {
	case err == nil:
		s.distrust()
	case statusOf(err) == http.StatusPreconditionFailed:
		s.once.Store(kept)
	} // any other trouble: the next put tells
}

// distrust remembers that the server does not keep anybody from overwriting.
func (s *S3) distrust() {
	if s.once.Swap(ignored) != ignored {
		s.log.Warn("this S3 server does not honour If-None-Match: each put is looked at before and after, and two publishers "+
			"who take the same version in the same moment could overwrite each other", "endpoint", s.where)
	}
}

// putWatchfully does what it can without If-None-Match.
func (s *S3) putWatchfully(ctx context.Context, key string, b registry.Body) error {
	if err := s.differs(ctx, key, b); !errors.Is(err, errVanished) {
		return err
	}
	if err := s.put(ctx, key, b, false); err != nil {
		return err
	}
	return s.differs(ctx, key, b)
}

// errVanished says that nothing is stored where something has to be.
var errVanished = fmt.Errorf("nothing is stored there after all: %w", registry.ErrUnreachable)

// differs is nil if what is stored under key is b.
func (s *S3) differs(ctx context.Context, key string, b registry.Body) error {
	there, err := s.Fetch(ctx, key)
	switch {
	case errors.Is(err, registry.ErrNotExist):
		return fmt.Errorf("S3: put %s: %w", key, errVanished)
	case errors.Is(err, registry.ErrChecksum), errors.Is(err, registry.ErrTooLarge), err == nil && !bytes.Equal(there.Data, b.Data):
		return fmt.Errorf("S3: put %s: other bytes are stored there: %w", key, registry.ErrExist)
	}
	return err
}

// PutIndex repeats the current version of a pointer beside its bodies, over what was there.
func (s *S3) PutIndex(ctx context.Context, key string, v registry.Version) error {
	if err := checkObjectKey(key); err != nil {
		return err
	}
	return s.put(ctx, key, registry.Body{Data: []byte(v)}, false)
}

func (s *S3) put(ctx context.Context, key string, b registry.Body, once bool) error {
	sum := md5.Sum(b.Data)
	in := &s3.PutObjectInput{
		Bucket:        &s.bucket,
		Key:           &key,
		Body:          bytes.NewReader(b.Data),
		ContentLength: aws.Int64(int64(len(b.Data))),
		ContentMD5:    aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ContentType:   aws.String(octets),
		Metadata:      packMeta(b.Meta),
	}
	if once {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := s.client.PutObject(ctx, in)
	return s.failure(ctx, "put", key, err)
}

// Fetch returns a body, checked against the checksum that it was put with. A body that the Python KingPin put has none.
func (s *S3) Fetch(ctx context.Context, key string) (registry.Body, error) {
	if err := checkObjectKey(key); err != nil {
		return registry.Body{}, err
	}
	for attempt := 1; ; attempt++ {
		b, whole, err := s.fetch(ctx, key)
		if whole || attempt == attempts || !pause(ctx, jitter(attempt)) {
			return b, err
		}
	}
}

// fetch says whether the answer was whole: the SDK tries again until one begins, not until it ends.
func (s *S3) fetch(ctx context.Context, key string) (b registry.Body, whole bool, err error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return registry.Body{}, true, s.failure(ctx, "get", key, err)
	}
	defer out.Body.Close()
	data, err := s.read(out.Body, aws.ToInt64(out.ContentLength))
	switch {
	case errors.Is(err, registry.ErrTooLarge):
		return registry.Body{}, true, fmt.Errorf("S3: get %s: %w", key, err)
	case err != nil:
		return registry.Body{}, false, s.failure(ctx, "get", key, err)
	}
	meta, err := unpackMeta(out.Metadata)
	if err == nil && meta.SHA256 != (registry.Checksum{}) && meta.SHA256 != registry.Sum(data) {
		err = registry.ErrChecksum
	}
	if err != nil {
		return registry.Body{}, true, fmt.Errorf("S3: get %s: %w", key, err)
	}
	return registry.Body{Data: data, Meta: meta}, true, nil
}

// read takes size bytes, or what comes if the server does not say how much.
func (s *S3) read(from io.Reader, size int64) ([]byte, error) {
	if size > s.maxBody {
		return nil, fmt.Errorf("%d bytes, at most %d: %w", size, s.maxBody, registry.ErrTooLarge)
	}
	if size > 0 {
		data := make([]byte, size)
		_, err := io.ReadFull(from, data)
		return data, err
	}
	data, err := io.ReadAll(io.LimitReader(from, s.maxBody+1))
	if err == nil && int64(len(data)) > s.maxBody {
		err = fmt.Errorf("more than %d bytes: %w", s.maxBody, registry.ErrTooLarge)
	}
	return data, err
}

func checkObjectKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("S3 key %.80q of %d bytes, from 1 to %d: %w", key, len(key), maxKey, registry.ErrInvalid)
	}
	return nil
}
