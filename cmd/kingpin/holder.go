package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/registry"
	"github.com/kingpinfs/kingpin/sync/mirror"
)

// holder has an endpoint registered while it is entered.
type holder interface {
	endpoint() registry.Endpoint
	enter() error // does not wait for the registry; an error is tried again by state
	leave()
	state() (state, reason string) // "" while it is not entered
	close() error
}

// openHolder finds out by whom to register, and as whom.
func (inv *invocation) openHolder(ctx context.Context, p registerPlan) (holder, error) {
	if !inv.bool("direct") {
		t, err := inv.openTree(ctx)
		switch {
		case err == nil && t.served:
			return inv.holdFile(ctx, t, p)
		case err != nil && !errors.Is(err, registry.ErrUnreachable):
			return nil, err
		}
		if s, settingsErr := inv.resolveFor(); settingsErr == nil {
			if fleet, _ := s.fleet(); fleet == nil {
				return inv.awaitMonitor(p, noHolder(t, err))
			}
		}
	}
	return inv.holdDirectly(ctx, p)
}

// awaitMonitor has a COMMAND started though there is no monitor: on the worst day it must. It is registered when one is there.
func (inv *invocation) awaitMonitor(p registerPlan, missing error) (holder, error) {
	if len(p.argv) == 0 {
		return nil, missing
	}
	e, err := p.choose("", false)
	if err != nil {
		return nil, err
	}
	inv.say("%s; %s is started, and registered when there is one", words(missing), p.argv[0])
	h := newFileHolder(inv.asked().mount, p, e)
	h.patient = true
	return h, nil
}

// noHolder says why nobody can register anything.
func noHolder(t *tree, err error) error {
	if err != nil {
		return err
	}
	return hint(fmt.Errorf("no monitor has a mount at %s: %w", t.root, registry.ErrUnreachable), "without one: --direct --zookeeper HOSTS --s3-bucket BUCKET")
}

// fileHolder holds a file of .register open.
type fileHolder struct {
	path, status string
	may          string // who may, in words
	e            registry.Endpoint
	attributes   []byte

	entered bool
	file    *os.File // nil: it could not be opened
	trouble error    // why
	patient bool     // that it could not is no reason to end
}

func newFileHolder(root string, p registerPlan, e registry.Endpoint) *fileHolder {
	return &fileHolder{
		path: filepath.Join(root, ".register", string(p.name), string(e)), status: filepath.Join(root, ".status", "registrations.json"),
		e: e, attributes: p.attributes,
	}
}

func (inv *invocation) holdFile(ctx context.Context, t *tree, p registerPlan) (holder, error) {
	embedded := t.monitor.Registry == "embedded"
	hosts := t.monitor.Source
	if t.monitor.Server != "" {
		hosts = t.monitor.Server
	}
	if embedded {
		hosts = ""
	}
	e, err := p.choose(hosts, embedded)
	if err != nil {
		return nil, err
	}
	if err := t.knows(ctx, inv, p.name); err != nil {
		return nil, err
	}
	h := newFileHolder(t.root, p, e)
	h.may = t.control.may
	return h, nil
}

// knows refuses a serverset of which the registry says that there is none. One that cannot be asked keeps no service from starting.
func (t *tree) knows(ctx context.Context, inv *invocation, name registry.Name) error {
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	err := t.inRegistry(ctx, inv, target{dir: name.Kind().String(), name: string(name)})
	switch {
	case errors.Is(err, registry.ErrPermission):
		return nil // opening the file says it better
	case errors.Is(err, registry.ErrUnreachable), errors.Is(err, registry.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		inv.say("the registry cannot be asked yet: %s", words(err))
		return nil
	}
	return err // nil, or there is none
}

func (h *fileHolder) endpoint() registry.Endpoint { return h.e }

func (h *fileHolder) enter() error {
	h.entered = true
	if h.file != nil {
		return nil
	}
	if h.trouble = h.open(); h.trouble != nil {
		h.trouble = fmt.Errorf("hold %s: %w", h.path, fromErrno(h.trouble))
		if errors.Is(h.trouble, registry.ErrPermission) {
			h.trouble = hint(h.trouble, h.may)
		}
	}
	if h.patient {
		return nil
	}
	return h.trouble
}

func (h *fileHolder) open() error {
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if h.attributes != nil {
		if _, err := f.Write(h.attributes); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	h.file = f
	return nil
}

func (h *fileHolder) leave() {
	h.entered = false
	if h.file != nil {
		_ = h.file.Close() // a mount that is dead has nobody registered
		h.file = nil
	}
}

// state also opens the file again when the mount that it was in is another: the monitor was stopped and started.
func (h *fileHolder) state() (state, reason string) {
	if !h.entered {
		return "", ""
	}
	if h.file != nil {
		var stat unix.Stat_t
		if err := unix.Fstat(int(h.file.Fd()), &stat); errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ENODEV) {
			_ = h.file.Close()
			h.file = nil
		}
	}
	if _ = h.enter(); h.trouble != nil {
		return string(mirror.Unregistered), words(h.trouble)
	}
	data, err := os.ReadFile(h.status)
	var all []registrationStatus
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return string(mirror.Unregistered), words(err)
	}
	serverset := filepath.Base(filepath.Dir(h.path))
	for _, r := range all {
		if r.Serverset == serverset && r.Endpoint == string(h.e) {
			return r.State, r.Reason
		}
	}
	return string(mirror.Unregistered), ""
}

func (h *fileHolder) close() error {
	h.leave()
	return nil
}

// directHolder registers in ZooKeeper itself.
type directHolder struct {
	registrar  *mirror.Registrar
	name       registry.Name
	e          registry.Endpoint
	attributes []byte
	stop       context.CancelFunc
	running    sync.WaitGroup

	held *mirror.Registration
}

func (inv *invocation) holdDirectly(ctx context.Context, p registerPlan) (holder, error) {
	s, err := inv.directServer(ctx)
	if err != nil {
		return nil, err
	}
	hosts, err := s.set.fleet.servers()
	if err != nil {
		return nil, usageError{err}
	}
	e, err := p.choose(hosts, false)
	if err != nil {
		return nil, err
	}
	if err := inv.directTree(s).knows(ctx, inv, p.name); err != nil {
		return nil, err
	}
	reg, ok := s.engine.backend.registry.(mirror.Serversets)
	if !ok {
		return nil, fmt.Errorf("%s keeps no members: %w", s.engine.source(), registry.ErrInvalid)
	}
	h := &directHolder{registrar: mirror.NewRegistrar(mirror.RegistrarOptions{}), name: p.name, e: e, attributes: p.attributes}
	ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	h.running.Go(func() { _ = h.registrar.Run(ctx, reg) }) // its only error is that it ran before
	return h, nil
}

func (h *directHolder) endpoint() registry.Endpoint { return h.e }

func (h *directHolder) enter() error {
	if h.held != nil {
		return nil
	}
	held, err := h.registrar.Register(h.name, h.e)
	if err != nil {
		return err
	}
	if h.attributes != nil {
		if err := held.Set(h.attributes); err != nil {
			held.Close()
			return err
		}
	}
	h.held = held
	return nil
}

func (h *directHolder) leave() {
	if h.held != nil {
		h.held.Close()
		h.held = nil
	}
}

func (h *directHolder) state() (state, reason string) {
	if h.held == nil {
		return "", ""
	}
	s, err := h.held.State()
	if err != nil {
		reason = words(err)
	}
	return string(s), reason
}

func (h *directHolder) close() error {
	h.leave()
	h.stop()
	h.running.Wait()
	return nil
}

// choose is the endpoint to register: --host, or an address of this machine that others can reach.
func (p registerPlan) choose(hosts string, embedded bool) (registry.Endpoint, error) {
	host := p.host
	if host == "" {
		var err error
		if host, err = ownAddress(hosts); err != nil {
			return "", err
		}
	}
	e, err := p.endpoint(host)
	if err == nil && !embedded {
		err = mirror.Routable(e)
	}
	return e, err
}

// lookupTime bounds the question for the address of an ensemble.
const lookupTime = 2 * time.Second

// ownAddress is the address from which this machine would talk to one of the hosts (host:port,.../chroot), or to any machine that is not
// here. Nothing is sent: the kernel is asked for the route. 192.0.2.1 and 2001:db8::1 are set aside for documents, so that they are
// reached by the default route.
func ownAddress(hosts string) (string, error) {
	hosts, _, _ = strings.Cut(hosts, "/")
	for _, to := range append(strings.Split(hosts, ","), "192.0.2.1:9", "[2001:db8::1]:9") {
		if to = strings.TrimSpace(to); to == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(to); err != nil {
			to = net.JoinHostPort(strings.Trim(to, "[]"), "2181")
		}
		conn, err := net.DialTimeout("udp", to, lookupTime)
		if err != nil {
			continue
		}
		from, ok := conn.LocalAddr().(*net.UDPAddr)
		conn.Close()
		if ok && !from.IP.IsLoopback() && !from.IP.IsUnspecified() && !from.IP.IsLinkLocalUnicast() {
			return from.IP.String(), nil
		}
	}
	return "", hint(fmt.Errorf("this machine has no address that others could reach: %w", fs.ErrNotExist), "say what others call it: --host HOST")
}
