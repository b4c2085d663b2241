package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/kingpinfs/kingpin/registry"
)

// maxAnswer bounds what is read from the control socket, in bytes: a registry of a hundred thousand names fits.
const maxAnswer = 256 << 20

// client asks a monitor through its control socket.
type client struct {
	socket string
	http   *http.Client
	may    string // who may, in words
}

func newClient(socket string) *client {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSocket(ctx, socket)
		},
	}
	return &client{socket: socket, http: &http.Client{Transport: transport}, may: "root and the group of --publish-group may"}
}

// call sends in as JSON, if it is not nil, and reads the answer into out, if that is not nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	return c.callWith(ctx, method, path, body, out)
}

// callWith sends a body as it is, and reads the answer into out, if that is not nil.
func (c *client) callWith(ctx context.Context, method, path string, body io.Reader, out any) error {
	data, err := c.send(ctx, method, path, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("answer of the monitor at %s: %w", c.socket, err)
	}
	return nil
}

// send sends a body as it is and returns the answer as it is.
func (c *client) send(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://kingpin"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode >= 300 {
		return nil, parseAPIError(response.StatusCode, data)
	}
	return data, nil
}

// explain says what an error of the connection means for the user.
func (c *client) explain(err error) error {
	if cause, ok := errors.AsType[*url.Error](err); ok {
		err = cause.Err // without the made-up URL
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the monitor at %s did not answer in time: %w", c.socket, registry.ErrTimeout)
	case errors.Is(err, syscall.EACCES):
		return hint(fmt.Errorf("control socket %s: %w", c.socket, registry.ErrPermission),
			c.may)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return hint(fmt.Errorf("no monitor answers at %s: %w", c.socket, registry.ErrUnreachable),
			"is it running? start it: kingpin monitor", "is its state directory elsewhere? say --state PATH")
	}
	return fmt.Errorf("control socket %s: %v: %w", c.socket, err, registry.ErrUnreachable)
}

// parseAPIError turns an answer that is no success into the error it stands for.
func parseAPIError(status int, data []byte) error {
	var said apiError
	if err := json.Unmarshal(data, &said); err != nil || said.Message == "" {
		return fmt.Errorf("the monitor answered with status %d", status)
	}
	for _, f := range failures {
		if f.kind == said.Kind {
			return hint(remote{said.Message, f.err}, said.Hints...)
		}
	}
	return hint(errors.New(said.Message), said.Hints...)
}

// remote is an error that came through the socket: the monitor's words, and the sentinel it wrapped there.
type remote struct {
	message string
	err     error
}

func (r remote) Error() string { return r.message }
func (r remote) Unwrap() error { return r.err }
