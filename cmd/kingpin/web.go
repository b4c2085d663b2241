package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// webOff is the address of a face that is not wanted.
const webOff = "off"

// webSilence is how long an address may be taken before that is worth a word: during an upgrade the server before has it.
const webSilence = 5 * time.Second

// webHeader bounds how long a client may take to say what it wants.
const webHeader = 10 * time.Second

// face is one address at which a monitor answers HTTP: --admin, or --metrics.
type face struct {
	flag    string // without the dashes
	address string // HOST:PORT, unix:PATH, off or empty
	handler http.Handler
	group   int // whose members may connect to a unix:PATH; -1: nobody's
	log     *slog.Logger

	bound atomic.Pointer[string] // where it answers; nil: nowhere
}

func (f *face) wanted() bool { return f.address != "" && f.address != webOff }

// where it answers, empty if it does not.
func (f *face) where() string {
	if f == nil {
		return ""
	}
	if at := f.bound.Load(); at != nil {
		return *at
	}
	return ""
}

// checkAddress says what is wrong with the address of a face.
func checkAddress(flag, address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s: unix:%s is not an absolute path", flag, path)
		}
		return nil
	}
	if address == "" || address == webOff {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s: %q is neither HOST:PORT, unix:PATH nor off", flag, address)
	}
	return nil
}

// prepare takes the address, so that who asks the new server where it answers is told.
func (f *face) prepare() (net.Listener, error) {
	listener, err := f.listen()
	if err == nil {
		f.bind(listener)
	}
	return listener, err
}

// bind notes where the face answers, and returns how to take that back.
func (f *face) bind(listener net.Listener) (gone func()) {
	where := listener.Addr().String()
	path, ok := strings.CutPrefix(f.address, "unix:")
	if !ok {
		f.bound.Store(&where)
		return func() { f.bound.Store(nil) }
	}
	f.bound.Store(&f.address)
	ours, _ := os.Lstat(path)
	return func() { f.bound.Store(nil); closeSocket(path, ours) }
}

// keep answers until ctx ends, at first on what prepare returned. An address that is taken, or not there yet, is tried again and again:
// whoever has it, reads go on.
func (f *face) keep(ctx context.Context, listener net.Listener, err error) {
	since, said := time.Now(), false
	for pause := firstAttempt; ctx.Err() == nil; pause = min(2*pause, webSilence) {
		if err == nil {
			if said {
				f.log.Info(f.flag+" answers now", "address", listener.Addr())
			}
			since, said, pause = time.Now(), false, firstAttempt
			err = f.serve(ctx, listener)
		}
		if err != nil && !said && (time.Since(since) > webSilence || !errors.Is(err, unix.EADDRINUSE)) {
			f.log.Warn(f.flag+" does not answer", "address", f.address, "error", err)
			said = true
		}
		select {
		case <-time.After(pause):
			listener, err = f.listen()
		case <-ctx.Done():
			return
		}
	}
	if err == nil {
		listener.Close()
	}
}

func (f *face) listen() (net.Listener, error) {
	path, ok := strings.CutPrefix(f.address, "unix:")
	if !ok {
		return net.Listen("tcp", f.address)
	}
	return listenSocket(path, f.group)
}

func (f *face) serve(ctx context.Context, listener net.Listener) error {
	defer f.bind(listener)()
	handler := f.handler
	if loopback(listener.Addr()) {
		handler = sameMachine(handler)
	}
	return serveWeb(ctx, listener, &http.Server{
		Handler:           http.TimeoutHandler(handler, controlTimeout, "the monitor took too long\n"),
		ReadHeaderTimeout: webHeader,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	})
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// sameMachine refuses what a web page in a browser of this machine asks for in the name of another host: names that resolve to
// the loopback are for anybody to hand out.
func sameMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this address is for this machine: ask for localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveWeb answers on listener until ctx ends, then finishes what is under way. An error means that it ended by itself.
func serveWeb(ctx context.Context, listener net.Listener, web *http.Server) error {
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
		defer cancel()
		ended <- web.Shutdown(ending)
	})
	err := web.Serve(listener)
	if stop() {
		return err // by itself
	}
	if err := <-ended; err != nil {
		web.ErrorLog.Printf("a request did not end: %v", err)
	}
	return nil
}
