package storm

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/integration/storm/stormservice"
)

// Options of a server. The zero Options are good.
type Options struct {
	Addr      string      // default: a free port of 127.0.0.1 that the kernel gives to nobody while it refuses
	Transport string      // buffered (the default), framed or header
	Protocol  string      // binary (the default) or compact
	Service   string      // its name, if it is multiplexed
	TLS       *tls.Config `json:"-"`
	Limit     int         // of connections; more are counted as excess. 0: none
	Notes     string      // directory of the files with what was executed; empty: none
}

// Server serves the service of storm.thrift.
type Server struct {
	o         Options
	addr      string
	processor thrift.TProcessor
	notes     *os.File
	work      sync.WaitGroup

	delay    atomic.Int64 // nanoseconds before each answer
	executed atomic.Int64
	told     atomic.Int64
	accepted atomic.Int64
	excess   atomic.Int64

	ending chan struct{} // closed by Close

	mu       sync.Mutex
	held     chan struct{} // closed when calls are answered again; nil: they are
	listener net.Listener  // nil while it refuses
	open     map[net.Conn]struct{}
	most     int
}

// Stats is what a server has counted.
type Stats struct {
	Addr     string
	Executed int64 // calls, but for oneway ones
	Told     int64 // oneway calls
	Accepted int64 // connections
	Most     int   // of them at a time
	Excess   int64 // connections above the limit
}

// Serve starts a server.
func Serve(o Options) (*Server, error) {
	s := &Server{o: o, addr: o.Addr, ending: make(chan struct{}), open: map[net.Conn]struct{}{}}
	s.processor = stormservice.NewStormProcessor(handler{s})
	if o.Service != "" {
		m := thrift.NewTMultiplexedProcessor()
		m.RegisterProcessor(o.Service, s.processor)
		s.processor = m
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	if o.Notes != "" {
		name := fmt.Sprintf("%s.%d", s.addr, os.Getpid())
		notes, err := os.OpenFile(filepath.Join(o.Notes, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			s.Refuse()
			return nil, err
		}
		s.notes = notes
	}
	return s, nil
}

// listen is the first Accept. It finds a port, if none was asked for, that is not of those which outgoing connections have.
func (s *Server) listen() (err error) {
	if s.o.Addr != "" {
		return s.Accept()
	}
	for range 100 {
		s.addr = fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		if err = s.Accept(); err == nil {
			break
		}
	}
	return err
}

// Addr is its endpoint.
func (s *Server) Addr() string { return s.addr }

// Slow has it wait before each answer.
func (s *Server) Slow(d time.Duration) { s.delay.Store(int64(d)) }

// Hold has it answer no call until it is released. Without that its callers have to give up, or it to be closed.
func (s *Server) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held = held
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = nil
		close(held)
	})
}

// Accept lets it be connected to, again.
func (s *Server) Accept() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.listener, s.addr = l, l.Addr().String()
	s.work.Go(func() { s.accept(l) })
	return nil
}

// Refuse closes its port, and all its connections.
func (s *Server) Refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	for c := range s.open {
		c.Close()
	}
}

// Close ends it, once.
func (s *Server) Close() {
	close(s.ending)
	s.Refuse()
	s.work.Wait()
	if s.notes != nil {
		s.notes.Close()
	}
}

// Stats is what it has counted so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{s.addr, s.executed.Load(), s.told.Load(), s.accepted.Load(), s.most, s.excess.Load()}
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // it refuses from now on
		}
		s.accepted.Add(1)
		s.mu.Lock()
		if s.listener != l {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.open[c] = struct{}{}
		now := s.connected()
		s.most = max(s.most, now)
		if s.o.Limit > 0 && now > s.o.Limit {
			s.excess.Add(1)
		}
		s.mu.Unlock()
		s.work.Go(func() { s.serve(c) })
	}
}

// connected counts the connections whose client has not hung up, even if we have not read so far. The caller has the lock.
func (s *Server) connected() (n int) {
	for c := range s.open {
		raw, err := c.(syscall.Conn).SyscallConn()
		if err != nil {
			continue
		}
		raw.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			if _, err := unix.Poll(p, 0); err == nil && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) == 0 {
				n++
			}
		})
	}
	return n
}

func (s *Server) serve(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c)
	}()
	conn := c
	if s.o.TLS != nil {
		conn = tls.Server(c, s.o.TLS)
	}
	p := s.protocol(thrift.NewTSocketFromConnConf(conn, nil))
	ctx := context.Background()
	for {
		if h, ok := p.(*thrift.THeaderProtocol); ok {
			if err := h.ReadFrame(ctx); err != nil {
				return
			}
			ctx = thrift.AddReadTHeaderToContext(context.Background(), h.GetReadHeaders())
		}
		ok, err := s.processor.Process(ctx, p, p)
		var known thrift.TApplicationException
		if !ok && !(errors.As(err, &known) && known.TypeId() == thrift.UNKNOWN_METHOD) {
			return
		}
	}
}

func (s *Server) protocol(t thrift.TTransport) thrift.TProtocol {
	switch s.o.Transport {
	case "header":
		return thrift.NewTHeaderProtocolConf(t, nil)
	case "framed":
		t = thrift.NewTFramedTransportConf(t, nil)
	default:
		t = thrift.NewTBufferedTransport(t, 4096)
	}
	if s.o.Protocol == "compact" {
		return thrift.NewTCompactProtocolConf(t, nil)
	}
	return thrift.NewTBinaryProtocolConf(t, nil)
}

// handler executes the calls.
type handler struct{ s *Server }

func (h handler) wait(d time.Duration) {
	h.s.mu.Lock()
	held := h.s.held
	h.s.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-h.s.ending:
		}
	}
	if d += time.Duration(h.s.delay.Load()); d > 0 {
		select {
		case <-time.After(d): // it takes its time
		case <-h.s.ending: // to nobody any more
		}
	}
	h.s.executed.Add(1)
}

// Echo says that it is who the header says, if there is one.
func (h handler) Echo(ctx context.Context, id int64, microseconds int32, _ []byte) (*stormservice.Answer, error) {
	h.wait(time.Duration(microseconds) * time.Microsecond)
	name, ok := thrift.GetHeader(ctx, "name")
	if !ok {
		name = h.s.addr
	}
	return &stormservice.Answer{ID: id, Host: name}, nil
}

func (h handler) Once(_ context.Context, id int64) (*stormservice.Answer, error) {
	if id < 0 {
		h.wait(0)
		return nil, &stormservice.Refused{Reason: strconv.FormatInt(id, 10)}
	}
	if h.s.notes != nil {
		if _, err := h.s.notes.Write(binary.BigEndian.AppendUint64(nil, uint64(id))); err != nil {
			return nil, err
		}
	}
	h.wait(0)
	return &stormservice.Answer{ID: id, Host: h.s.addr}, nil
}

func (h handler) Fail(_ context.Context, id int64) (*stormservice.Answer, error) {
	h.wait(0)
	return nil, fmt.Errorf("no luck with %d", id)
}

func (h handler) Tell(context.Context, int64) error {
	h.s.told.Add(1)
	return nil
}

// Noted is how often each id was executed, by all servers that have noted it in dir.
func Noted(dir string) (map[int64]int, error) {
	noted := map[int64]int{}
	files, err := filepath.Glob(filepath.Join(dir, "*:*.*"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for ; len(data) >= 8; data = data[8:] {
			noted[int64(binary.BigEndian.Uint64(data))]++
		}
		if len(data) > 0 {
			return nil, fmt.Errorf("%s: %w", name, io.ErrUnexpectedEOF)
		}
	}
	return noted, nil
}
