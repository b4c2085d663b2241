package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
)

func runEdit(ctx context.Context, inv *invocation) error {
	t, g, err := inv.openNamed(ctx)
	if err != nil {
		return err
	}
	switch {
	case g.version != "":
		return wrongUsage("the current version is edited, not %s@%s", g, g.version)
	case g.dir == registry.Decider.String():
		return hint(wrongUsage("%s is a number", g), "to change it: kingpin decider set "+g.name+" PERCENT")
	case g.dir != registry.Config.String():
		return wrongUsage("%s is written by those who register in it", g)
	}
	if err := t.writable(); err != nil {
		return err
	}
	if t.served && errors.Is(unix.Access(g.path(t.root), unix.W_OK), unix.EACCES) { // said now, not when the work is done
		return hint(fmt.Errorf("edit %s: %w", g, registry.ErrPermission), t.control.may)
	}
	before, base, err := t.present(ctx, inv, g)
	if err != nil {
		return err
	}
	path, err := draftFile(g, before)
	if err != nil {
		return err
	}
	// Ctrl-C means something else to an editor than its end, and comes here too; and while the version is on its way it would leave the
	// user not knowing.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGQUIT)
	defer signal.Stop(interrupts)
	after, err := inv.edited(path)
	if err != nil {
		if bytes.Equal(after, before) {
			os.Remove(path)
			return fmt.Errorf("%s was not published: %w", g, err)
		}
		return kept(fmt.Errorf("%s was not published: %w", g, err), path)
	}
	if bytes.Equal(after, before) {
		os.Remove(path)
		inv.say("unchanged: nothing was published")
		return inv.emit(output{json: published{Name: g.name, Version: base}, names: []string{g.name + "@" + base}})
	}
	p := publication{target: g, body: after, message: inv.string("message"), base: base, hasBase: true, force: inv.bool("force")}
	done, err := t.publish(context.WithoutCancel(ctx), inv, p)
	if err != nil {
		more := []string{fmt.Sprintf("to publish it: kingpin put %s %s", g, path)}
		if errors.Is(err, registry.ErrConflict) {
			more = append([]string{fmt.Sprintf("what others have changed: kingpin diff %s %s", g, cmp.Or(base, "1"))}, more...)
		}
		return kept(err, path, more...)
	}
	os.Remove(path)
	inv.say("published %s as %s", done.Name, done.Version)
	return inv.emit(output{json: done, names: []string{done.Name + "@" + done.Version}})
}

// present is the current version of a config and its bytes, which belong together.
func (t *tree) present(ctx context.Context, inv *invocation, g target) (body []byte, version string, err error) {
	if t.direct || !t.served {
		list, err := t.history(ctx, inv, g, 1)
		if err != nil || len(list.Versions) == 0 {
			return nil, "", err // never written
		}
		g.version = list.Versions[0].Version
		body, err = t.version(ctx, inv, g)
		return body, g.version, err
	}
	file, err := os.Open(g.path(t.root))
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", g, fromErrno(err))
	}
	defer file.Close()
	if version, err = fxattr(int(file.Fd()), "version"); err != nil {
		return nil, "", fmt.Errorf("version of %s: %w", g, fromErrno(err))
	}
	if body, err = io.ReadAll(file); err != nil {
		return nil, "", fmt.Errorf("read %s: %w", g, fromErrno(err))
	}
	return body, version, nil
}

// kept adds to an error where the user's text is.
func kept(err error, path string, more ...string) error {
	lines := []string{"your text is kept in " + path}
	if h, ok := err.(hinted); ok {
		lines = append(h.hints, lines...)
		err = h.error
	}
	return hint(err, append(lines, more...)...)
}

// draftFile is a copy for the editor, which may tell by its name what is in it.
func draftFile(g target, body []byte) (path string, err error) {
	pattern := "kingpin-*-" + g.name
	if len(body) > 0 && json.Valid(body) {
		pattern += ".json"
	}
	file, err := os.CreateTemp("", pattern)
	if err != nil {
		return "", err
	}
	_, err = file.Write(body)
	if closing := file.Close(); err == nil {
		err = closing
	}
	return file.Name(), err
}

// edited runs the editor on a file and returns what it holds then.
func (inv *invocation) edited(path string) ([]byte, error) {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	// The variable may hold arguments, as in "code --wait": a shell takes it apart, as git and crontab have it.
	cmd := exec.Command("/bin/sh", "-c", editor+` "$1"`, editor, path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inv.stdin, inv.stderr, inv.stderr
	if terminal(inv.stdout) {
		cmd.Stdout = inv.stdout
	}
	failed := cmd.Run()
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		return nil, err
	case failed != nil:
		return data, fmt.Errorf("editor %q: %v", editor, failed)
	}
	return data, nil
}
