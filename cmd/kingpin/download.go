package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/registry/zookeeper"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// The exit codes of zk_download_data.py, which kingpin download keeps: scripts and old monitors branch on them.
const (
	downloadFailed   = 1   // ZooKeeper cannot be reached, or anything that has no code
	downloadUnread   = 2   // ZooKeeper cannot be read; also wrong usage
	downloadShrunk   = 3   // a serverset that was emptied, or has shrunk below -r
	downloadNoNode   = 6   // there is no such node
	downloadUnsaved  = 7   // the file cannot be written
	downloadNoAWS    = 8   // the settings for S3 are missing or make no sense
	downloadBadValue = 9   // the file of -l is broken
	downloadTooSmall = 30  // a serverset below --serverset-minimum-size
	downloadNoBody   = 101 // S3 has no such object
	downloadS3       = 102 // S3 has another trouble
	downloadSame     = 123 // the file holds these bytes already
)

// coded is an error with an exit code that is not that of the table of failures.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// download is one name that becomes one file.
type download struct {
	fleet   *fleetSettings
	maxBody int64

	kind    registry.Kind
	pointer registry.Pointer
	key     func(registry.Version) string // in S3; nil: the node holds the content itself
	value   []byte                        // what the node would say; nil: it is asked
	file    string
	show    bool    // print it instead
	quiet   bool    // say nothing of what is as it should be
	same    bool    // it is no failure that the file holds these bytes already
	ratio   float64 // of a serverset's size that has to stay; 0: any, but not nothing
	least   int     // members of a serverset
}

// runDownload is kingpin download NAME FILE.
func runDownload(ctx context.Context, inv *invocation) error {
	effective, err := inv.resolveFor()
	if err != nil {
		return usageError{err}
	}
	d := download{file: inv.word(1), same: inv.bool("allow-same-content"), show: inv.word(1) == "-"}
	if d.fleet, err = effective.fleet(); err != nil {
		return usageError{err}
	}
	if d.fleet == nil {
		return wrongUsage("download: neither a flag nor a file says where ZooKeeper is: --zookeeper HOSTS --s3-bucket BUCKET")
	}
	if d.maxBody, err = effective.maxBody(); err != nil {
		return usageError{err}
	}
	name, err := registry.ParseName(inv.word(0))
	if err != nil {
		return usageError{err}
	}
	d.kind, d.pointer = name.Kind(), name.Pointer()
	if d.kind == registry.Config {
		d.key = d.pointer.Key
	}
	return d.run(ctx, inv)
}

// run fetches, compares and writes.
func (d *download) run(ctx context.Context, inv *invocation) error {
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	data, err := d.fetch(ctx)
	if err != nil {
		return err
	}
	if d.show {
		_, err := inv.stdout.Write(data)
		return err
	}
	before, err := readTarget(d.file, d.maxBody)
	if err != nil {
		return coded{err, downloadUnsaved}
	}
	if before.same(data, d.kind) {
		if d.same {
			return nil
		}
		return coded{fmt.Errorf("%s holds what %s does already", d.file, d.pointer), downloadSame}
	}
	if err := d.guard(before, data); err != nil {
		return err
	}
	if err := before.replace(data); err != nil {
		return coded{err, downloadUnsaved}
	}
	if !d.quiet {
		inv.say("wrote %s, %d bytes", d.file, len(data))
	}
	return nil
}

// fetch is what the file shall hold.
func (d *download) fetch(ctx context.Context) ([]byte, error) {
	var bodies *mirror.S3
	if d.key != nil {
		var err error
		if bodies, err = d.fleet.bodies(ctx, d.maxBody, nil, slog.New(slog.DiscardHandler)); err != nil {
			return nil, coded{err, downloadNoAWS}
		}
		defer bodies.Close()
	}
	said := d.value
	if said == nil {
		var err error
		if said, err = d.ask(ctx); err != nil {
			return nil, err
		}
	}
	if d.key == nil {
		return said, nil
	}
	version, err := registry.ParseVersion(string(said))
	if err != nil {
		return nil, coded{fmt.Errorf("%s: %w", d.pointer, err), downloadUnread}
	}
	if version == "" {
		return nil, coded{fmt.Errorf("%s was never written", d.pointer), downloadNoBody}
	}
	body, err := bodies.Fetch(ctx, d.key(version))
	switch {
	case errors.Is(err, registry.ErrNotExist):
		return nil, coded{err, downloadNoBody}
	case err != nil:
		return nil, coded{err, downloadS3}
	}
	return body.Data, nil
}

// ask is what the node says: a version, the content, or the members of a serverset as a file.
func (d *download) ask(ctx context.Context) ([]byte, error) {
	ensemble, err := d.fleet.ensemble(zookeeper.Options{})
	if err != nil {
		return nil, coded{err, downloadUnread}
	}
	defer ensemble.Close() // the answer is known, or why there is none
	var data []byte
	if d.kind == registry.Serverset {
		data, err = membersFile(ctx, ensemble, d.pointer)
	} else {
		data, err = ensemble.Content(ctx, d.pointer)
	}
	switch {
	case errors.Is(err, registry.ErrNotExist):
		return nil, coded{fmt.Errorf("there is no node %s: %w", d.pointer, err), downloadNoNode}
	case errors.Is(err, registry.ErrUnreachable), errors.Is(err, registry.ErrTimeout):
		return nil, coded{err, downloadFailed}
	case err != nil:
		return nil, coded{err, downloadUnread}
	}
	return data, nil
}

func membersFile(ctx context.Context, ensemble *zookeeper.Client, p registry.Pointer) ([]byte, error) {
	name, err := registry.ParseName(nameOf(p))
	if err != nil {
		return nil, err
	}
	for members, err := range ensemble.Members(ctx, name) {
		if err == nil && !members.Exists {
			err = registry.ErrNotExist
		}
		return registry.FormatServerset(members.Members), err
	}
	return nil, fmt.Errorf("%w: %w", registry.ErrTimeout, ctx.Err())
}

// guard keeps a serverset from being emptied, as monitors do. Who means it removes the file first.
func (d *download) guard(before targetFile, data []byte) error {
	if d.kind != registry.Serverset {
		return nil
	}
	was, is := len(lineSet(before.data)), len(lineSet(data))
	switch {
	case is < d.least:
		return coded{fmt.Errorf("%s has %s, at least %d are wanted", d.pointer, count(is, "member"), d.least), downloadTooSmall}
	case was > 0 && is == 0, was >= guardFrom && float64(is) < d.ratio*float64(was):
		return coded{fmt.Errorf("%s has %s, %s holds %d, and stays; remove it first if that is right", d.pointer, count(is, "member"), d.file, was), downloadShrunk}
	}
	return nil
}

// guardFrom is how many members a serverset has to have before -r counts, as it did in the old downloader.
const guardFrom = 5

// maxValue bounds the value file of -l, in bytes.
const maxValue = 8 << 20

// limited reads a file of at most so many bytes.
func limited(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("more than %s: %w", size(most), registry.ErrTooLarge)
	}
	return data, err
}
