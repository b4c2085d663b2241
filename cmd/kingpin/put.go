package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

// publication is what put asks for.
type publication struct {
	target  target
	body    []byte
	message string
	base    string
	hasBase bool // publish only over this version
	force   bool
	create  bool // it may be new: a decider is born by being written
}

func runPut(ctx context.Context, inv *invocation) error {
	t, g, err := inv.openNamed(ctx)
	if err != nil {
		return err
	}
	if g.version != "" {
		return wrongUsage("put makes a new version, it cannot be told which: %s@%s", g, g.version)
	}
	if err := t.writable(); err != nil {
		return err
	}
	var body []byte
	err = await(ctx, "stdin", func() (err error) {
		body, err = inv.readBody(inv.word(1), t.monitor.MaxBody)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s was not published: %w", g, err)
	}
	p := publication{
		target: g, body: body, message: inv.string("message"), force: inv.bool("force"),
		base: inv.string("base"), hasBase: inv.flags.Changed("base"),
	}
	if inv.bool("dry-run") {
		return t.tryOut(ctx, inv, p)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s was not published: %w", g, errInterrupted)
	}
	// From here on an interrupt does not end the program, which would leave the caller not knowing; it ends the gesture.
	p2, err := t.publish(ctx, inv, p)
	if err != nil {
		return err
	}
	if p2.Changed {
		inv.say("published %s as %s", p2.Name, p2.Version)
	} else {
		inv.say("unchanged: %s holds these bytes, as %s", p2.Name, p2.Version)
	}
	return inv.emit(output{json: p2, names: []string{p2.Name + "@" + p2.Version}})
}

// readBody reads FILE, or stdin if there is none or it is -.
func (inv *invocation) readBody(file string, most int64) ([]byte, error) {
	in := inv.stdin
	if file == "" || file == "-" {
		file = "stdin"
		if terminal(inv.stdin) {
			inv.say("reading from the terminal; end with Ctrl-D")
		}
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, errors.New(err.Error()) // its errno is no answer of the mount
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %v", file, err)
	}
	if int64(len(body)) > most {
		return nil, fmt.Errorf("%s has more than %s, the monitor's --max-body: %w", file, size(most), registry.ErrTooLarge)
	}
	return body, nil
}

// publish writes the file of the mount, or asks the monitor where there are plain files only.
func (t *tree) publish(ctx context.Context, inv *invocation, p publication) (published, error) {
	if !t.served {
		return t.send(ctx, inv, p)
	}
	path := p.target.path(t.root)
	before, _ := xattr(path, "version")
	after, err := p.write(ctx, path)
	if err != nil {
		return published{}, t.refused(p.target, err)
	}
	return published{Name: p.target.String(), Version: after, Changed: after != before}, nil
}

// send publishes through the control socket.
func (t *tree) send(ctx context.Context, inv *invocation, p publication) (published, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inv.duration("timeout"))
	defer cancel()
	if p.target.dir == registry.Decider.String() {
		return published{}, fmt.Errorf("%s: deciders are published through a mount, and here is none: %w", p.target, registry.ErrReadOnly)
	}
	var done published
	err := t.control.callWith(ctx, "PUT", p.request(), bytes.NewReader(p.body), &done)
	return done, err
}

// request is what the control socket is asked to publish.
func (p publication) request() string {
	query := url.Values{}
	if p.message != "" {
		query.Set("message", p.message)
	}
	if p.hasBase {
		query.Set("base", p.base)
	}
	if p.force {
		query.Set("force", "1")
	}
	return "/v1/names/" + p.target.name + "?" + query.Encode()
}

// write makes the one gesture that publishes a file: cut it, say why and over what, write, sync, close. It returns the version
// that the file has then. When ctx ends it is interrupted: its error, or that there is none, says what came of it.
func (p publication) write(ctx context.Context, path string) (version string, err error) {
	interruptible(ctx, func() { version, err = p.gesture(path) })
	return version, err
}

func (p publication) gesture(path string) (string, error) {
	how := os.O_WRONLY | os.O_TRUNC
	if p.create {
		how |= os.O_CREATE
	}
	file, err := os.OpenFile(path, how, 0o644)
	if err != nil {
		return "", err
	}
	version, err := p.writeTo(file)
	if closing := file.Close(); err == nil && closing != nil {
		return "", closing
	}
	return version, err
}

func (p publication) writeTo(file *os.File) (string, error) {
	for _, a := range []struct {
		key, value string
		wanted     bool
	}{
		{"message", p.message, p.message != ""},
		{"base", p.base, p.hasBase},
		{"force", "1", p.force},
	} {
		if !a.wanted {
			continue
		}
		if err := unix.Fsetxattr(int(file.Fd()), xattrPrefix+a.key, []byte(a.value), 0); err != nil {
			return "", fmt.Errorf("set %s: %w", a.key, err)
		}
	}
	if len(p.body) == 0 {
		// Cutting at open never publishes, so that `: > file` does not; cutting on purpose does.
		if err := file.Truncate(0); err != nil {
			return "", err
		}
	}
	if err := writeAll(int(file.Fd()), p.body); err != nil {
		return "", err
	}
	if version, err := fxattr(int(file.Fd()), "version"); err == nil {
		return version, nil
	}
	return xattr(file.Name(), "version")
}

// refused says in words why a gesture failed: the mount leaves them in .error/.
func (t *tree) refused(g target, err error) error {
	reason, readErr := os.ReadFile(filepath.Join(t.root, ".error", g.dir, g.name))
	cause := fromErrno(err)
	if readErr != nil || len(reason) == 0 || errors.Is(err, syscall.EACCES) && !ours(string(reason)) {
		if errors.Is(err, syscall.EACCES) && t.monitor != nil {
			return hint(fmt.Errorf("put %s: %w", g, cause), whoMayPublish(t.monitor.PublishGroup))
		}
		return fmt.Errorf("put %s: %w", g, cause)
	}
	lines := strings.Split(strings.TrimSpace(string(reason)), "\n")
	first := lines[0]
	if _, words, ok := strings.Cut(first, ":"); ok {
		first = strings.TrimSpace(words)
	}
	if !strings.Contains(first, g.name) {
		first = g.String() + ": " + first
	}
	return hint(remote{first, cause}, lines[1:]...)
}

// ours says whether a reason is that of this process, or of one that the monitor could not tell. When the kernel refuses an open the mount
// does not hear of it, and what is in .error/ was said to somebody else.
func ours(reason string) bool {
	return strings.Contains(reason, fmt.Sprintf("(pid %d)", os.Getpid())) || strings.Contains(reason, "(pid 0)")
}

func whoMayPublish(group string) string {
	if group == "" {
		return "root alone may, since the monitor has no --publish-group"
	}
	return "root and group " + group + " may"
}

// tryOut shows what put would change, and refuses what it would refuse.
func (t *tree) tryOut(ctx context.Context, inv *invocation, p publication) error {
	current, base, err := t.before(ctx, inv, p.target)
	if err != nil {
		return err
	}
	done := tried{Name: p.target.String(), Base: base, Changed: !bytes.Equal(current, p.body)}
	done.Diff = unified(done.Name, "new", current, p.body)
	if err := inv.emit(output{json: done, names: []string{done.Name}, table: func(w io.Writer) { io.WriteString(w, done.Diff) }}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	if _, err := t.control.send(ctx, "PUT", p.request()+"&try=1", bytes.NewReader(p.body)); err != nil {
		return err
	}
	if done.Changed {
		inv.say("not published, only tried")
	} else {
		inv.say("unchanged: %s holds these bytes", p.target)
	}
	return nil
}

// before is what put would replace, and its version as far as that is known.
func (t *tree) before(ctx context.Context, inv *invocation, g target) (current []byte, version string, err error) {
	if t.direct {
		status, err := t.publishedStatus(ctx, inv, g)
		if err != nil {
			return nil, "", err
		}
		current, err = t.published(ctx, inv, g)
		return current, status.Version, err
	}
	if current, err = os.ReadFile(g.path(t.root)); err != nil {
		return nil, "", fmt.Errorf("put %s: %w", g, fromErrno(err))
	}
	version, _ = xattr(g.path(t.root), "version") // a plain file has none
	return current, version, nil
}

// tried is what put --dry-run prints.
type tried struct {
	Name    string `json:"name"`
	Base    string `json:"base"` // the current version
	Changed bool   `json:"changed"`
	Diff    string `json:"diff"`
}
