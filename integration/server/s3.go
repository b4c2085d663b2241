package server

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// s3Patience is what the server is given to answer for the first time, and to be gone after SIGKILL. Both take it some
	// milliseconds.
	s3Patience = 20 * time.Second

	// s3Grace is what it is given to end by itself. With nobody connected it takes 100 ms; else it would wait 10 s for its clients
	// to go.
	s3Grace = time.Second

	// versitygw is where make puts the binary, seen from the root of the repository.
	versitygw = ".bin/versitygw-1.8.0"
)

// S3Server is a versitygw: each bucket is a directory, each object a file whose metadata are its extended attributes. What it
// cannot hold is a key that is the beginning of another, as a/b and a/b/c: a file is no directory.
type S3Server struct {
	Endpoint             string // URL, on the loopback interface; stays the same over a restart
	Bucket               string // exists and is empty
	AccessKey, SecretKey string
	Dir                  string // holds the buckets

	binary, address string

	mu     sync.Mutex
	cmd    *exec.Cmd     // nil while it is stopped
	exited chan struct{} // closed when cmd has ended
	output *bytes.Buffer // what cmd said; read after it has ended
}

// StartS3 runs an S3 server until the test ends. Where there is no binary the test is skipped.
func StartS3(t testing.TB) *S3Server {
	t.Helper()
	binary, err := versitygwBinary()
	if err != nil {
		missing(t, err)
	}
	s, err := RunS3(binary, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// RunS3 runs an S3 server that keeps its buckets in dir, for those who are no test. They have to stop it.
func RunS3(binary, dir string) (*S3Server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &S3Server{
		Endpoint:  "http://" + address,
		Bucket:    "kpbucket",
		AccessKey: "KINGPINTEST",
		SecretKey: "no/secret+at=all",
		Dir:       dir,
		binary:    binary,
		address:   address,
	}
	if err := s.MakeBucket(s.Bucket); err != nil {
		return nil, err
	}
	return s, s.Start()
}

// MakeBucket makes one more bucket.
func (s *S3Server) MakeBucket(name string) error {
	return os.Mkdir(filepath.Join(s.Dir, name), 0o755)
}

// Object is the file of an object in the first bucket, for tests that meddle with it.
func (s *S3Server) Object(key string) string {
	return filepath.Join(s.Dir, s.Bucket, filepath.FromSlash(key))
}

// Start runs the server again, where it was and with what it had, and returns when it answers.
func (s *S3Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("versitygw is running already")
	}
	output := &bytes.Buffer{}
	cmd := exec.Command(s.binary, "--port", s.address, "--keep-alive", "--quiet", "posix", s.Dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // whatever ends this process ends the server
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("versitygw: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is always ended by a signal, or was never there for long
		close(exited)
	}()
	s.cmd, s.exited, s.output = cmd, exited, output
	return s.answers()
}

// answers waits until the server does.
func (s *S3Server) answers() error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(s3Patience); ; {
		if response, err := client.Get(s.Endpoint); err == nil {
			return response.Body.Close()
		}
		select {
		case <-tick.C:
		case <-s.exited:
			s.cmd = nil
			return fmt.Errorf("versitygw ended before it answered:\n%s", s.output)
		case <-limit:
			return errors.Join(fmt.Errorf("versitygw does not answer at %s", s.Endpoint), s.kill())
		}
	}
}

// Stop ends the server as an impatient service manager does. The second call does nothing.
func (s *S3Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
	case <-time.After(s3Grace):
	}
	return s.kill()
}

// Kill ends the server at once, as a power cut would. The second call does nothing.
func (s *S3Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

// Freeze keeps the server from answering anybody, without closing a connection, until thaw.
func (s *S3Server) Freeze() (thaw func() error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil, errors.New("versitygw is not running")
	}
	process := s.cmd.Process
	return func() error { return process.Signal(syscall.SIGCONT) }, process.Signal(syscall.SIGSTOP)
}

// kill returns when the process is gone. The caller holds mu.
func (s *S3Server) kill() error {
	if s.cmd == nil {
		return nil
	}
	process := s.cmd.Process
	s.cmd = nil
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(s3Patience):
		return fmt.Errorf("versitygw outlives SIGKILL by %v", s3Patience)
	}
}

// versitygwBinary is the path of the binary.
func versitygwBinary() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(root, versitygw)
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("there is no S3 server, make %s builds it: %w", versitygw, err)
	}
	return binary, nil
}

// freeAddress is a port of the loopback interface that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
