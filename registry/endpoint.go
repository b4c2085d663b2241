package registry

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Endpoint is where one instance of a service listens: 10.0.0.7:9090, web-1.example.com:80 or [2001:db8::7]:9090. It is one
// line of a serverset file, and net.Dial takes it as it is.
type Endpoint string

const (
	maxHostLength     = 253 // of a DNS name
	maxEndpointLength = maxHostLength + len(".:65535")
)

// ParseEndpoint checks an endpoint that a person or a program wrote: an IPv4 address, a host name with or without dots, or an
// IPv6 address in brackets; then a colon and a port from 1 to 65535. An IPv6 address comes back in its shortest spelling, so that
// equal endpoints are equal strings; everything else comes back as it was written.
func ParseEndpoint(s string) (Endpoint, error) {
	if len(s) > maxEndpointLength {
		return "", fmt.Errorf("endpoint of %d bytes, at most %d: %w", len(s), maxEndpointLength, ErrInvalid)
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return "", fmt.Errorf("endpoint %q has no port: %w", s, ErrInvalid)
	}
	host, port := s[:colon], s[colon+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
		return "", fmt.Errorf("endpoint %q: port %q is not a number from 1 to 65535: %w", s, port, ErrInvalid)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", fmt.Errorf("endpoint %q: %s is not an IPv6 address that other machines can reach: %w", s, host, ErrInvalid)
		}
		return Endpoint("[" + addr.String() + "]:" + port), nil
	}
	if strings.Contains(host, ":") {
		return "", fmt.Errorf("endpoint %q: an IPv6 address stands in brackets, as in [2001:db8::7]:9090: %w", s, ErrInvalid)
	}
	if !isHost(host) {
		return "", fmt.Errorf("endpoint %q: %q is neither an address nor a host name: %w", s, host, ErrInvalid)
	}
	return Endpoint(s), nil
}

// storedEndpoint also understands an IPv6 address without brackets, which old registrars joined to their port by a colon as they
// did with IPv4. What stands in the registry always has a port, so the last colon is the one; in what a person typed it may not be.
func storedEndpoint(s string) (Endpoint, error) {
	if colon := strings.LastIndexByte(s, ':'); colon > 0 && s[0] != '[' && strings.Contains(s[:colon], ":") {
		s = "[" + s[:colon] + "]" + s[colon:]
	}
	return ParseEndpoint(s)
}

// Host is the address or host name, an IPv6 address without its brackets.
func (e Endpoint) Host() string {
	host := string(e)
	if colon := strings.LastIndexByte(host, ':'); colon >= 0 {
		host = host[:colon]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		return strings.TrimSuffix(inner, "]")
	}
	return host
}

// Port of an endpoint that ParseEndpoint accepted; 0 of anything else.
func (e Endpoint) Port() int {
	port, err := strconv.ParseUint(string(e[strings.LastIndexByte(string(e), ':')+1:]), 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

// isHost accepts what DNS and the old readers call a host: labels of letters, digits, - and _. Dots with a number behind the last
// one can only be meant as an IPv4 address, and then it must be one.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	s = strings.TrimSuffix(s, ".")
	if len(s) > maxHostLength || strings.HasPrefix(s, "-") {
		return false
	}
	last := s
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 63 || !isWord(label) {
			return false
		}
		last = label
	}
	return len(last) == len(s) || strings.Trim(last, "0123456789") != ""
}
