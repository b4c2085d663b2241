package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/disk"
)

// .register/NAME/ENDPOINT is there while somebody holds it open for writing: that registers the endpoint in the serverset, and the end of the
// descriptor, however it comes about, takes it out again. Each open has an inode of its own, as drafts have: so a program that waits
// in fsync holds up nobody, and the kernel can be asked of each whether anybody still has it. To open it asks no network: a service
// must start on the worst day too. That there is such a serverset is found out when its directory is looked up, which holds no lock
// that anybody waits for.

// registerPath is where .error tells why a registration was refused.
func registerPath(name registry.Name) string { return "register/" + string(name) }

// knowTimeout bounds the question whether there is a serverset that this machine does not follow.
const knowTimeout = 2 * time.Second

// registerOf is the serverset whose registrations a directory holds.
func (f *FS) registerOf(node uint64) (registry.Name, bool) {
	if !isHidden(node, registerDirKind) || f.o.Register == nil {
		return "", false
	}
	if name, ok := f.holds.dir(node); ok {
		return name, true
	}
	for _, e := range f.store.List(registry.Serverset) { // of a server that died
		if hiddenID(registerDirKind, e.Name) == node {
			return registry.Name(e.Name), true
		}
	}
	return "", false
}

// lookupRegister finds the directory of a serverset. One that this machine does not follow is asked for, if somebody can be asked.
func (f *FS) lookupRegister(cancel <-chan struct{}, in *fuse.InHeader, word string, out *fuse.EntryOut) fuse.Status {
	name, err := registry.ParseName(word)
	if err != nil || name.Kind() != registry.Serverset {
		return fuse.ENOENT
	}
	_, followed := f.store.Current(disk.File{Kind: registry.Serverset, Name: word})
	if !followed && !f.holds.any(name) && f.o.Knows != nil && f.o.Writable() == nil {
		if st := f.askKnown(cancel, in, name); !st.Ok() {
			return st
		}
	}
	node := hiddenID(registerDirKind, word)
	if !followed {
		f.holds.rememberDir(node, name)
	}
	out.SetEntryTimeout(briefly)
	f.lookupNode(node, out, true)
	return fuse.OK
}

// askKnown refuses what the registry says is no serverset. Whatever else it says, or if it says nothing, the name may be right.
func (f *FS) askKnown(cancel <-chan struct{}, in *fuse.InHeader, name registry.Name) fuse.Status {
	err := f.ask(cancel, in.Pid, func(ctx context.Context) error {
		ctx, stop := context.WithTimeout(ctx, knowTimeout)
		defer stop()
		return f.o.Knows(ctx, name)
	})
	switch {
	case errors.Is(err, errLeft), errors.Is(err, errKilled):
		return asked(err)
	case errors.Is(err, registry.ErrNotExist):
		return f.refuse(registerPath(name), f.caller(in), err)
	}
	return fuse.OK
}

// listRegister is what .register or one directory of it holds: serversets, or what this machine holds of one.
func (f *FS) listRegister(node uint64) []listed {
	var all []listed
	add := func(name string, node uint64, mode uint32) {
		if !slices.ContainsFunc(all, func(l listed) bool { return l.name == name }) {
			all = append(all, listed{name, node, mode})
		}
	}
	dir, inside := f.registerOf(node)
	for _, h := range f.holds.all() {
		switch {
		case !inside:
			add(string(h.Name), hiddenID(registerDirKind, string(h.Name)), syscall.S_IFDIR)
		case h.Name == dir:
			add(string(h.Endpoint), h.Node, syscall.S_IFREG)
		}
	}
	if inside {
		return all
	}
	for _, e := range f.store.List(registry.Serverset) {
		add(e.Name, hiddenID(registerDirKind, e.Name), syscall.S_IFDIR)
	}
	return all
}

// lookupHold finds a registration that is held here: for the thread that is opening it once more, the inode that it will have.
func (f *FS) lookupHold(in *fuse.InHeader, name registry.Name, word string, out *fuse.EntryOut) bool {
	endpoint, err := registry.ParseEndpoint(word)
	if err != nil {
		return false
	}
	node, ok := f.holds.arrive(redirectKey{in.Pid, in.NodeId, word})
	if !ok {
		node, ok = f.holds.find(name, endpoint)
	}
	return f.lookupNode(node, out, ok)
}

// createHold registers an endpoint that nobody holds here yet.
func (f *FS) createHold(in *fuse.CreateIn, word string, out *fuse.CreateOut) fuse.Status {
	c := f.caller(&in.InHeader)
	name, ok := f.registerOf(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	endpoint, err := registry.ParseEndpoint(word)
	if err != nil {
		return f.refuse(registerPath(name), c, err)
	}
	h := &hold{Node: f.holdID(name, endpoint), Name: name, Endpoint: endpoint, File: word}
	if st := f.register(h, c, &out.OpenOut); !st.Ok() {
		return st
	}
	f.lookupNode(h.Node, &out.EntryOut, true)
	return fuse.OK
}

// holdID is a node id that no other hold has had.
func (f *FS) holdID(name registry.Name, e registry.Endpoint) uint64 {
	return hiddenID(holdKind, string(name), string(e), fmt.Sprint(f.unique()))
}

// register makes a hold of a file that is being opened. It is noted down before the program goes on: a server after this one goes on with it.
func (f *FS) register(h *hold, c caller, out *fuse.OpenOut) fuse.Status {
	r, err := f.o.Register(h.Name, h.Endpoint)
	if err != nil {
		return f.refuse(registerPath(h.Name), c, err)
	}
	h.registration, h.created, h.caller = r, now(), c
	out.Fh = f.open(&handle{node: h.Node})
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	h.Handles = []uint64{out.Fh}
	f.holds.add(h)
	f.saveHolds()
	f.forgive(registerPath(h.Name))
	return fuse.OK
}

// openHold opens a file of .register. Who opens one for writing that is held already is sent to an inode of its own, by ESTALE and the lookup
// that it makes the kernel do.
func (f *FS) openHold(in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	h, ok := f.holds.get(in.NodeId)
	if in.Flags&syscall.O_ACCMODE == syscall.O_RDONLY {
		if !ok {
			return fuse.Status(syscall.ESTALE)
		}
		out.Fh = f.open(&handle{node: in.NodeId, content: f.holds.content(h)})
		out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
		return fuse.OK
	}
	c := f.caller(&in.InHeader)
	if !ok {
		if h, ok = f.holds.come(in.NodeId); !ok {
			return fuse.Status(syscall.ESTALE)
		}
		return f.register(h, c, out)
	}
	parent := hiddenID(registerDirKind, string(h.Name))
	next := &hold{Node: f.holdID(h.Name, h.Endpoint), Name: h.Name, Endpoint: h.Endpoint, File: h.File}
	if in.Pid != 0 && f.holds.expect(redirectKey{in.Pid, parent, h.File}, next) {
		return fuse.Status(syscall.ESTALE)
	}
	// It has no name to look up (/proc/self/fd/N), or is in a pid namespace that we do not see: one more descriptor of the same hold.
	out.Fh = f.open(&handle{node: h.Node})
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	f.holds.share(h, out.Fh)
	f.saveHolds()
	return fuse.OK
}

// releaseHold ends a descriptor. With the last one of a hold the registration ends.
func (f *FS) releaseHold(in *fuse.ReleaseIn) {
	h, last := f.holds.release(in.NodeId, in.Fh)
	if h == nil {
		return
	}
	f.saveHolds()
	if last && h.registration != nil {
		h.registration.Close()
	}
}
