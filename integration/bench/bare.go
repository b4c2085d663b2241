package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/integration/server"
	"github.com/kingpinfs/kingpin/registry"
)

// bareFleet makes the calls that a machine of a fleet makes, by the libraries alone.
type bareFleet struct {
	conn   *zk.Conn
	client *s3.Client
	http   *http.Client // of client, and of what was signed before
	bucket string
}

func dialBare(z *server.ZooKeeper, s *server.S3Server) (*bareFleet, error) {
	conn, _, err := zk.Connect([]string{z.Addr}, 30*time.Second, zk.WithLogger(log.New(io.Discard, "", 0)))
	if err != nil {
		return nil, err
	}
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: getters}}
	return &bareFleet{
		conn:   conn,
		http:   c,
		bucket: s.Bucket,
		client: s3.New(s3.Options{
			Region: "us-east-1", BaseEndpoint: &s.Endpoint, UsePathStyle: true, HTTPClient: c,
			Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
			// Nor does KingPin use checksums of the SDK's own.
			RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
			ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		}),
	}, nil
}

func (f *bareFleet) close() {
	f.conn.Close()
	f.http.CloseIdleConnections()
}

// makeNode makes a node that a publication needs, and those above it, unless they are there.
func (f *bareFleet) makeNode(node string) error {
	if node == "/" {
		return nil
	}
	if err := f.makeNode(path.Dir(node)); err != nil {
		return err
	}
	_, err := f.conn.Create(node, nil, 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

func (f *bareFleet) put(ctx context.Context, key string, data []byte, once bool) error {
	sum := md5.Sum(data)
	in := &s3.PutObjectInput{
		Bucket: &f.bucket, Key: &key, Body: bytes.NewReader(data),
		ContentMD5: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ContentType: aws.String("application/octet-stream"),
	}
	if once { // with as many words about it as KingPin's own puts have: the server stores each
		in.IfNoneMatch = aws.String("*")
		in.Metadata = map[string]string{
			"sha256": fmt.Sprintf("%x", sha256.Sum256(data)), "published": time.Now().UTC().Format(time.RFC3339Nano),
			"author": "bench@bare", "replaces": string(registry.NextVersion(time.Now(), "")),
		}
	}
	if _, err := f.client.PutObject(ctx, in); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (f *bareFleet) get(ctx context.Context, key string) ([]byte, error) {
	out, err := f.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// publish makes the calls of one publication, one after the other: the body, the lock, the pointer, the index, the lock's end.
func (f *bareFleet) publish(ctx context.Context, p registry.Pointer, data []byte) error {
	next := registry.NextVersion(time.Now(), "")
	if err := f.put(ctx, p.Key(next), data, true); err != nil {
		return err
	}
	var random [16]byte
	rand.Read(random[:]) // never fails
	lock := string(p) + ".lock"
	place, err := f.conn.Create(lock+"/"+hex.EncodeToString(random[:])+"__lock__", nil,
		zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	if err != nil {
		return fmt.Errorf("create below %s: %w", lock, err)
	}
	queue, _, err := f.conn.Children(lock)
	if err != nil {
		return err
	}
	if first := slices.MinFunc(queue, byNumber); first != path.Base(place) {
		return fmt.Errorf("%s is held by %s", lock, first)
	}
	if err := f.move(p, next); err != nil {
		return err
	}
	if err := f.put(ctx, p.IndexKey(), []byte(next), false); err != nil {
		return err
	}
	return f.conn.Delete(place, -1)
}

// byNumber compares places in a queue by the ten digits that they end with.
func byNumber(a, b string) int { return cmp.Compare(a[len(a)-10:], b[len(b)-10:]) }

func (f *bareFleet) move(p registry.Pointer, next registry.Version) error {
	if _, err := f.conn.Set(string(p), []byte(next), -1); err != nil {
		return fmt.Errorf("set %s: %w", p, err)
	}
	return nil
}

// hear makes a pointer move, and says how long it took from there until a watch had told, and the new body had been got.
func (f *bareFleet) hear(ctx context.Context, p registry.Pointer, publish func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, hearLimit)
	defer cancel()
	_, _, moved, err := f.conn.GetW(string(p))
	if err != nil {
		return 0, fmt.Errorf("watch %s: %w", p, err)
	}
	var arrived time.Time
	var lost error
	var arrival sync.WaitGroup
	arrival.Go(func() {
		lost = f.arrive(ctx, p, moved)
		arrived = time.Now()
	})
	started := time.Now()
	if err = publish(); err != nil {
		cancel()
	}
	arrival.Wait()
	return arrived.Sub(started), errors.Join(err, lost)
}

// arrive is what a machine does that follows a pointer: it asks what it is now and for the next event, and gets the body.
func (f *bareFleet) arrive(ctx context.Context, p registry.Pointer, moved <-chan zk.Event) error {
	select {
	case <-moved:
	case <-ctx.Done():
		return fmt.Errorf("hear of %s: %w", p, ctx.Err())
	}
	version, _, _, err := f.conn.GetW(string(p))
	if err != nil {
		return fmt.Errorf("watch %s: %w", p, err)
	}
	_, err = f.get(ctx, p.Key(registry.Version(version)))
	return err
}

// signed is what to ask for to get the current body of each pointer.
func (f *bareFleet) signed(ctx context.Context, pointers []registry.Pointer) ([]string, error) {
	signer := s3.NewPresignClient(f.client)
	urls := make([]string, len(pointers))
	for i, p := range pointers {
		version, _, err := f.conn.Get(string(p))
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", p, err)
		}
		r, err := signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &f.bucket, Key: aws.String(p.Key(registry.Version(version)))})
		if err != nil {
			return nil, err
		}
		urls[i] = r.URL
	}
	return urls, nil
}

// getAll gets everything, some at a time.
func (f *bareFleet) getAll(ctx context.Context, urls []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	next := make(chan string)
	for range getters {
		group.Go(func() {
			for url := range next {
				if err := f.getURL(ctx, url); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, url := range urls {
		next <- url
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

func (f *bareFleet) getURL(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := f.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || n != readSize) {
		err = fmt.Errorf("get %s: %s, %d bytes", request.URL.Path, answer.Status, n)
	}
	return err
}
