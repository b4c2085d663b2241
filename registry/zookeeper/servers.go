package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/kingpinfs/kingpin/registry"
)

const defaultPort = "2181"

// server is one entry of the list, and where it was found last.
type server struct {
	host, port string
	found      []string // addresses, from the last lookup that worked
}

// address is one of a server's addresses.
type address struct {
	host string // for its certificate
	dial string // IP:port
}

// parseServers reads host:port,host:port/chroot as ZooKeeper's own clients do. An IPv6 address stands in brackets.
func parseServers(s string) (servers []server, chroot string, err error) {
	list := s
	if slash := strings.IndexByte(s, '/'); slash >= 0 {
		list, chroot = s[:slash], strings.TrimRight(s[slash:], "/")
	}
	if chroot != "" {
		if _, err := registry.ParsePointer(chroot); err != nil {
			return nil, "", fmt.Errorf("ZooKeeper servers %q: chroot: %w", s, err)
		}
	}
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue // a comma too many
		}
		one, err := parseServer(entry)
		if err != nil {
			return nil, "", fmt.Errorf("ZooKeeper servers %q: %w", s, err)
		}
		servers = append(servers, one)
	}
	if len(servers) == 0 {
		return nil, "", fmt.Errorf("ZooKeeper servers %q name no host: %w", s, registry.ErrInvalid)
	}
	return servers, chroot, nil
}

func parseServer(s string) (server, error) {
	bare := s
	if strings.HasPrefix(s, "[") {
		bare = strings.TrimSuffix(s[1:], "]")
	}
	if addr, err := netip.ParseAddr(bare); err == nil && strings.HasPrefix(s, "[") == strings.HasSuffix(s, "]") {
		return server{host: addr.String(), port: defaultPort}, nil
	}
	if !strings.Contains(s, ":") {
		s += ":" + defaultPort
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return server{}, fmt.Errorf("%w: %w", registry.ErrInvalid, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 {
		return server{}, fmt.Errorf("%q is not host:port: %w", s, registry.ErrInvalid)
	}
	return server{host: host, port: port}, nil
}

// addresses are those of all servers, in random order. A host that cannot be looked up now is where it was the last time: DNS is
// often away together with something else.
func (c *Client) addresses(ctx context.Context) ([]address, error) {
	failures := make([]error, len(c.servers))
	var lookups sync.WaitGroup
	for i := range c.servers {
		s := &c.servers[i]
		lookups.Go(func() {
			found, err := c.lookup(ctx, s.host)
			if failures[i] = err; err == nil {
				s.found = found
			}
		})
	}
	lookups.Wait()
	var all []address
	for _, s := range c.servers {
		for _, ip := range s.found {
			all = append(all, address{host: s.host, dial: net.JoinHostPort(ip, s.port)})
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(failures...)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

func (c *Client) lookup(ctx context.Context, host string) ([]string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}, nil
	}
	found, err := c.options.Lookup(ctx, host)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	return found, err
}
