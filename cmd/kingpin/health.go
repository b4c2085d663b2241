package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

// check looks once whether a service is healthy: nil, or why it is not. It ends with ctx.
type check func(ctx context.Context) error

// parseCheck reads tcp, http:/path or exec:command. The first two ask the endpoint that is registered, since that is what clients do.
func parseCheck(text string, e registry.Endpoint) (check, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch {
	case text == "":
		return nil, nil
	case text == "tcp":
		return func(ctx context.Context) error { return checkTCP(ctx, e) }, nil
	case kind == "http" && strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, "//"):
		u, err := url.Parse("http://" + string(e) + rest)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return checkHTTP(ctx, u.String()) }, nil
	case kind == "exec" && strings.TrimSpace(rest) != "":
		return func(ctx context.Context) error { return checkExec(ctx, rest) }, nil
	}
	return nil, errors.New("want tcp, http:/PATH or exec:COMMAND")
}

func checkTCP(ctx context.Context, e registry.Endpoint) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", string(e))
	if err != nil {
		return err
	}
	return conn.Close()
}

// checkHTTP accepts what is neither a client's nor a server's error. A redirection is not followed: it may lead to another machine.
func checkHTTP(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kingpin-register/"+version)
	c := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := c.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.CopyN(io.Discard, answer.Body, maxSmall); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("GET %s: %s", address, answer.Status)
	}
	return nil
}

// checkExec runs a line of the shell; what it has started ends with it.
func checkExec(ctx context.Context, line string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch said := strings.TrimSpace(string(out[:min(len(out), 200)])); {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: not done in time", line)
	case err != nil && said != "":
		return fmt.Errorf("%s: %w: %s", line, err, said)
	case err != nil:
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// health is what the last checks say: healthy after so many good ones in a row, sick after so many bad ones.
type health struct {
	rise, fall int
	healthy    bool
	row        int // of checks that say otherwise
}

// note takes in a check, and says whether that was news.
func (h *health) note(err error) (changed bool) {
	if (err == nil) == h.healthy {
		h.row = 0
		return false
	}
	h.row++
	if h.healthy && h.row < h.fall || !h.healthy && h.row < h.rise {
		return false
	}
	h.healthy, h.row = !h.healthy, 0
	return true
}
