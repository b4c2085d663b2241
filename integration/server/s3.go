package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// versitygw is where make puts the binary, seen from the root of the repository.
const versitygw = ".bin/versitygw-1.8.0"

// stopTime is what an S3 server is given to end by itself. With nobody connected it takes 100 ms; else it would wait 10 s for its
// clients to go.
const stopTime = time.Second

// S3Server is a versitygw: each bucket is a directory, each object a file whose metadata are its extended attributes. It can be
// stopped and started again, at the same address and with the same objects. What it cannot hold is a key that is the beginning of
// another, as a/b and a/b/c: a file is no directory.
type S3Server struct {
	Endpoint             string // URL
	Bucket               string // exists
	AccessKey, SecretKey string

	address string // host:port
	dir     string
	process *process
}

// NeedS3 skips a test where a server cannot run, or fails it where everything has to run.
func NeedS3(t testing.TB) {
	t.Helper()
	if _, err := versitygwBinary(); err != nil {
		missing(t, err)
	}
}

// StartS3 starts a server that ends with the test.
func StartS3(t testing.TB) *S3Server {
	t.Helper()
	NeedS3(t)
	s, err := NewS3(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// NewS3 returns a server that keeps everything below dir, and is not started yet.
func NewS3(dir string) (*S3Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &S3Server{
		Bucket:    "kpbucket",
		AccessKey: "KINGPINTEST",
		SecretKey: "no/secret+at=all",
		address:   fmt.Sprintf("127.0.0.1:%d", port),
		dir:       dir,
	}
	s.Endpoint = "http://" + s.address
	if err := s.MakeBucket(s.Bucket); err != nil && !os.IsExist(err) {
		return nil, err
	}
	return s, nil
}

func (s *S3Server) buckets() string { return filepath.Join(s.dir, "buckets") }
func (s *S3Server) log() string     { return filepath.Join(s.dir, "versitygw.log") }

// MakeBucket makes one more bucket.
func (s *S3Server) MakeBucket(name string) error {
	if err := os.MkdirAll(s.buckets(), 0o755); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(s.buckets(), name), 0o755)
}

// Object is the file of an object in Bucket, for tests that look at it or meddle with it.
func (s *S3Server) Object(key string) string {
	return filepath.Join(s.buckets(), s.Bucket, filepath.FromSlash(key))
}

// Start starts it and returns when it answers.
func (s *S3Server) Start() error {
	if err := s.launch(); err != nil {
		return fmt.Errorf("start versitygw: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	err := s.process.ready(ctx, func() error {
		response, err := client.Get(s.Endpoint)
		if err != nil {
			return err
		}
		return response.Body.Close() // it refuses us, which is an answer
	})
	if err != nil {
		s.Kill()
		log, _ := os.ReadFile(s.log())
		return fmt.Errorf("start versitygw at %s: %w\n%s", s.address, err, log[max(0, len(log)-4000):])
	}
	return nil
}

func (s *S3Server) launch() error {
	binary, err := versitygwBinary()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary, "--port", s.address, "--keep-alive", "--quiet", "posix", s.buckets())
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	cmd.Stdout, cmd.Stderr = log, log
	s.process, err = start(cmd)
	return err
}

// Stop ends it as an impatient operator does. Its connections are closed.
func (s *S3Server) Stop() {
	if s.process == nil {
		return
	}
	s.process.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.process.done:
	case <-time.After(stopTime):
	}
	s.Kill()
}

// Kill ends it as a power failure does, as far as the process is concerned.
func (s *S3Server) Kill() {
	if s.process != nil {
		s.process.stop(syscall.SIGKILL)
		s.process = nil
	}
}

// Pause stops its process without closing its connections, and returns when the last of its threads has stopped; Resume lets it go on.
func (s *S3Server) Pause() error { return s.process.pause() }

// Resume lets a paused server go on.
func (s *S3Server) Resume() error { return s.process.cmd.Process.Signal(syscall.SIGCONT) }

// versitygwBinary is the path of the binary.
func versitygwBinary() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(root, versitygw)
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("this needs an S3 server, make %s builds it: %w", versitygw, err)
	}
	return binary, nil
}
