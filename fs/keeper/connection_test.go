package keeper

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// connection is a test server's side of the connection to the kernel.
type connection struct {
	fd      int
	kernel  *fuse.ProtocolServer
	ended   chan struct{} // closed when the tree is unmounted
	buffers sync.Pool
}

const bufferSize = maxRead + 4096

// touched is how much of a buffer is there before the kernel copies into it: a header, its arguments and a name.
const touched = 3 * 4096

// negotiate has go-fuse answer the kernel's INIT request, or the saved one, which must give the saved reply.
func negotiate(a *Attachment, fsys fuse.RawFileSystem) (*connection, error) {
	options := &fuse.MountOptions{MaxWrite: maxRead, ExplicitDataCacheControl: true, MaxBackground: 128, ExtraCapabilities: 1 << 39}
	if os.Getenv("SERVER_CANNOT_RESEND") != "" {
		options.ExtraCapabilities = 0
	}
	if os.Getenv("SERVER_MAPS_IDS") != "" {
		options.IDMappedMount, options.Options = true, []string{"default_permissions"}
	}
	if modeOf() == "differs" {
		options.MaxBackground = 7
	}
	c := &connection{fd: int(a.FUSE.Fd()), kernel: fuse.NewProtocolServer(fsys, options), ended: make(chan struct{})}
	c.buffers.New = func() any {
		b := make([]byte, bufferSize)
		for i := 0; i < touched; i += 4096 {
			b[i] = 1
		}
		return &b
	}
	request := a.Init
	if request == nil {
		request = make([]byte, bufferSize)
		n, err := a.FUSE.Read(request)
		if err != nil {
			return nil, err
		}
		request = request[:n]
	}
	reply := make([]byte, bufferSize)
	n, status := c.kernel.HandleRequest([][]byte{request}, [][]byte{reply})
	if !status.Ok() {
		return nil, syscall.Errno(status)
	}
	reply = reply[:n]
	if a.Init != nil {
		if !bytes.Equal(a.InitReply, reply) {
			err := errors.New("this server negotiates differently")
			return nil, errors.Join(a.Refuse(err), err)
		}
		return c, nil
	}
	if _, err := a.FUSE.Write(reply); err != nil {
		return nil, err
	}
	return c, a.SaveInit(request, reply)
}

// lead reads one request, has another goroutine read the next, and answers.
func (c *connection) lead() {
	in, out := c.buffers.Get().(*[]byte), c.buffers.Get().(*[]byte)
	defer c.buffers.Put(in)
	defer c.buffers.Put(out)
	for {
		n, err := unix.Read(c.fd, *in)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			close(c.ended)
			return
		}
		go c.lead()
		if n, _ := c.kernel.HandleRequest([][]byte{(*in)[:n]}, [][]byte{*out}); n > 0 {
			_, _ = unix.Write(c.fd, (*out)[:n])
		}
		return
	}
}
