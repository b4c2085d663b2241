package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// The files of decider/ are the keys of one config, registry.DeciderName. A decider is published by the write that completes its line,
// since the shells' echo reports a failing write and drops the error of a failing close; what has no newline is published when it
// is closed or synced. What the file would hold after a write is judged by that write: it is a percent and a newline, or the start
// of it.

// decides says that the draft's bytes are to be a decider. d.mu is held.
func (d *draft) decides() bool { return d.file.Kind == registry.Decider && !d.scratch }

// completed publishes the line of a decider, or judges a JSON value to which nothing can be added any more.
func (f *FS) completed(cancel <-chan struct{}, thread uint32, d *draft) fuse.Status {
	d.mu.Lock()
	decides, body := d.decides(), bytes.Clone(d.buf)
	d.mu.Unlock()
	if decides {
		return f.publishAndWait(cancel, thread, d, written)
	}
	ctx, stop := context.WithTimeout(context.Background(), checkTimeout)
	defer stop()
	err := f.o.Check(ctx, registry.Name(d.file.Name), body)
	if !errors.Is(err, registry.ErrInvalid) {
		return fuse.OK // what else is wrong, its publication will find out
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return f.refuse(d.file.String(), d.caller, d.fail(err))
}

// decision turns the publication of a decider's file into that of a key of the map.
func (f *FS) decision(p Publication, file disk.File) (Publication, error) {
	percent, err := registry.ParseDecider(p.Body)
	if err != nil {
		return p, err
	}
	p.Name, p.Decider, p.Percent, p.Create = registry.DeciderName, file.Name, percent, f.o.CreateByWrite
	return p, nil
}

// newDecider says whether a file that does not exist yet in decider/ is a decider to be made by this write; otherwise it is a
// scratch file. Who insists that he makes the file (O_EXCL) makes a temporary one: mkstemp, and vim's probe 4913.
func (f *FS) newDecider(file disk.File, exclusive bool) (bool, error) {
	if exclusive || temporary(file.Name) {
		return false, nil
	}
	if _, err := registry.ParseDeciderName(file.Name); err != nil {
		if lower := strings.ToLower(file.Name); lower != file.Name {
			if _, err := registry.ParseDeciderName(lower); err == nil {
				return false, fmt.Errorf("deciders have lower-case names: %s: %w", lower, syscall.EPERM)
			}
		}
		return false, nil
	}
	_, exists := f.store.Current(disk.File{Kind: registry.Config, Name: string(registry.DeciderName)})
	if !exists && !f.o.CreateByWrite {
		return false, fmt.Errorf("no decider can be made yet: all are in %s, which does not exist; to make it: kingpin create %s --dep %s: %w",
			registry.DeciderName, registry.DeciderName, registry.BaseDependency, syscall.EPERM)
	}
	return true, nil
}

// temporaryEndings are what programs put behind a name while they write the file or keep the old one.
var temporaryEndings = []string{".tmp", ".temp", ".new", ".bak", ".old", ".orig", ".part", ".swp", ".lock"}

// temporary says whether a name in decider/ is that of a temporary file, though it may be a good name of a decider: NAME.tmp,
// NAME.123456, QSaveFile's NAME.k12345.
func temporary(name string) bool {
	for _, ending := range temporaryEndings {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	if jetBrains(name) {
		return true
	}
	digits := strings.TrimPrefix(name[strings.LastIndexByte(name, '.')+1:], "k")
	return strings.Contains(name, ".") && len(digits) >= temporaryDigits && strings.Trim(digits, "0123456789") == ""
}

// jetBrains says whether a name is one that JetBrains' editors give the new or the old file while they save.
func jetBrains(name string) bool {
	return strings.HasSuffix(name, "___jb_tmp___") || strings.HasSuffix(name, "___jb_old___")
}

// percentOf is what a decider's file says.
func (f *FS) percentOf(e disk.Entry) string {
	body, err := f.bodies.content(e.Stamp)
	if err != nil {
		return "unreadable"
	}
	return string(bytes.TrimSpace(body))
}

// unlinkDecider takes a decider out of the map. The kernel holds the directory's lock.
func (f *FS) unlinkDecider(in *fuse.InHeader, c caller, name string) fuse.Status {
	file := disk.File{Kind: registry.Decider, Name: name}
	current, exists := f.store.Current(file)
	waiting := &deferral{
		key:    deferralKey{"unlink", in.NodeId, name, ""},
		path:   file.String(),
		caller: c,
		present: func(out *fuse.EntryOut) bool {
			f.versionEntry(out, current)
			out.Nlink = 1 // at none its watchers hear that it is deleted
			out.SetAttrTimeout(0)
			return true
		},
	}
	if d := f.deferralOf(in.Pid); d == nil || d.key != waiting.key {
		if !exists {
			return fuse.ENOENT
		}
		if err := f.mayUnlinkDecider(file, c); err != nil {
			return f.refuse(file.String(), c, err)
		}
	}
	own := ownEdit{in.NodeId, name, Unsubscribe}
	repeated, err := f.later(in.Pid, waiting, func(ctx context.Context) error {
		defer f.removalTook(c.process, now())
		f.expectOwn(own)
		others := f.beside(file)
		_, err := f.o.Publish(ctx, Publication{Name: registry.DeciderName, Decider: name, Remove: true, Author: f.author(c)})
		if err != nil {
			f.unexpectOwn(own)
			return err
		}
		f.swapBeside(waiting, others()...)
		f.forgive(file.String())
		return nil
	})
	switch {
	case !repeated:
		return fuse.Status(syscall.ESTALE)
	case err != nil:
		return f.refuse(file.String(), c, err)
	}
	return fuse.OK
}

func (f *FS) mayUnlinkDecider(file disk.File, c caller) error {
	if err := f.mayWrite(file, c); err != nil {
		return err
	}
	// They delete before they create, with O_EXCL at that: the decider would be gone.
	if c.command == "mv" || c.command == "install" {
		return fmt.Errorf("%s deletes the decider before it makes a new file; use cp: %w", c.command, syscall.EPERM)
	}
	return f.mayRemove(c, "deciders", "kingpin put "+string(registry.DeciderName))
}
