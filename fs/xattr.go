package fs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// The extended attributes of every file tell about its version; those of a draft are set by its writer before it publishes.
const (
	xattrPrefix  = "user.kingpin."
	xattrMessage = xattrPrefix + "message"
	xattrForce   = xattrPrefix + "force"
	xattrBase    = xattrPrefix + "base"
)

// maxXattr bounds what a writer may say about a version, in bytes.
const maxXattr = 4096

// xattrs are the attributes of a node by name.
func (f *FS) xattrs(node uint64) map[string]string {
	e, ok := f.version(node)
	if !ok {
		return nil
	}
	all := map[string]string{
		"version": string(e.Version),
		"sha256":  fmt.Sprintf("%x", e.SHA256),
		"age":     fmt.Sprintf("%.0f", max(0, time.Since(e.Stamp.Time()).Seconds())), // the clock may have been set back
	}
	if e.Author != "" {
		all["author"] = e.Author
	}
	if e.Message != "" {
		all["message"] = e.Message
	}
	if !e.Published.IsZero() {
		all["published"] = e.Published.UTC().Format(time.RFC3339Nano)
	}
	if deps := f.dependenciesOf(e.File); len(deps) > 0 {
		all["dependencies"] = strings.Join(deps, " ")
	}
	if text, ok := f.refusalText(refusalID(e.File.String())); ok {
		all["last_error"] = string(text)
	}
	return all
}

// version is what a node is a version of; a draft is one of what it was made from, or has published last.
func (f *FS) version(node uint64) (disk.Entry, bool) {
	switch classify(node) {
	case versionClass:
		return f.store.ByStamp(disk.Stamp(node))
	case draftClass:
		if d := f.draft(node); d != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.base, d.base.Stamp != 0
		}
	}
	return disk.Entry{}, false
}

// dependenciesOf are the dependencies followed here that hold the file.
func (f *FS) dependenciesOf(file disk.File) []string {
	edge := registry.Edge(file.Name)
	if file.Kind == registry.Decider {
		edge = registry.Edge(registry.DeciderName)
	}
	var deps []string
	for _, dir := range f.store.Graph().Dirs {
		if _, ok := dir.Link(edge); ok {
			deps = append(deps, string(dir.Name))
		}
	}
	return deps
}

// GetXAttr answers one attribute.
func (f *FS) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	short, ok := strings.CutPrefix(name, xattrPrefix)
	if !ok {
		return 0, fuse.ENODATA
	}
	if isHidden(in.NodeId, pastDirKind) && short == "incomplete" {
		return f.incomplete(in.NodeId, dest)
	}
	if isHidden(in.NodeId, pastKind) {
		value, st := f.pastXattr(cancel, in, short)
		if !st.Ok() {
			return 0, st
		}
		return fill(dest, []byte(value))
	}
	value, ok := f.xattrs(in.NodeId)[short]
	if !ok {
		return 0, fuse.ENODATA
	}
	return fill(dest, []byte(value))
}

// ListXAttr lists the attributes of a version.
func (f *FS) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	var names []string
	if isHidden(in.NodeId, pastKind) {
		for _, name := range pastXattrs {
			names = append(names, xattrPrefix+name+"\x00")
		}
	}
	for name := range f.xattrs(in.NodeId) {
		names = append(names, xattrPrefix+name+"\x00")
	}
	slices.Sort(names)
	return fill(dest, []byte(strings.Join(names, "")))
}

func fill(dest, value []byte) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// SetXAttr lets the writer of a draft say why it writes, that it insists, and which version it means to replace.
func (f *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	d := f.draft(in.NodeId)
	switch {
	case d == nil && classify(in.NodeId) == draftClass:
		return fuse.EIO // a draft of a server that has died
	case d == nil:
		return fuse.EPERM
	case len(data) > maxXattr:
		return fuse.EINVAL
	}
	value := string(data)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch name {
	case xattrMessage:
		d.message = value
	case xattrForce:
		d.force = value == "1"
	case xattrBase:
		version, err := registry.ParseVersion(value)
		if err != nil {
			return fuse.EINVAL
		}
		d.expect = &version
	}
	return fuse.OK // others, such as security labels that cp -a carries over, mean nothing here
}

// RemoveXAttr takes nothing away.
func (f *FS) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, _ string) fuse.Status {
	if f.draft(in.NodeId) == nil {
		return fuse.EPERM
	}
	return fuse.OK
}
