package registry

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestEndpoints(t *testing.T) {
	for _, test := range []struct {
		in, host string
		port     int
		want     Endpoint
	}{
		{"10.0.0.7:9090", "10.0.0.7", 9090, "10.0.0.7:9090"},
		{"127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"},
		{"web-1:80", "web-1", 80, "web-1:80"},
		{"Web_1:65535", "Web_1", 65535, "Web_1:65535"},
		{"web-1.example.com:80", "web-1.example.com", 80, "web-1.example.com:80"},
		{"web-1.example.com.:80", "web-1.example.com.", 80, "web-1.example.com.:80"},
		{"394857201938:80", "394857201938", 80, "394857201938:80"}, // a container's id can be all digits
		{"[2001:db8::7]:9090", "2001:db8::7", 9090, "[2001:db8::7]:9090"},
		{"[2001:DB8:0:0::7]:9090", "2001:db8::7", 9090, "[2001:db8::7]:9090"},
		{"[::1]:80", "::1", 80, "[::1]:80"},
	} {
		got, err := ParseEndpoint(test.in)
		if err != nil || got != test.want || got.Host() != test.host || got.Port() != test.port {
			t.Errorf("%s: %s (%s, %d), %v", test.in, got, got.Host(), got.Port(), err)
		}
	}
}

func TestEndpointsThatNobodyCanCall(t *testing.T) {
	for _, bad := range []string{
		"", ":", ":80", "web", "web:", "web:0", "web:65536", "web:080", "web:+80", "web:-1", "web:http", "web:80 ", " web:80",
		"10.0.0.256:80", "10.0.0:80", "010.0.0.1:80", "1.2.3.4.5:80", "we b:80", "web..com:80", ".web:80", "-web:80", "w/eb:80", "../x:80",
		"2001:db8::7:9090", "::1:80", "[10.0.0.7]:80", "[fe80::1%eth0]:80", "[2001:db8::7:80", "2001:db8::7]:80", "[]:80", "[::1]80",
		"caf\u00e9:80", "web\n:80", "web\x00:80", strings.Repeat("x", 64) + ":80", strings.Repeat("x.", 200) + "x:80",
	} {
		if got, err := ParseEndpoint(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	if e := Endpoint(""); e.Host() != "" || e.Port() != 0 {
		t.Errorf("the zero endpoint is %q, %d", e.Host(), e.Port())
	}
}

func TestAnIPv6AddressWithoutBracketsSaysHowToWriteIt(t *testing.T) {
	if _, err := ParseEndpoint("2001:db8::7:9090"); err == nil || !strings.Contains(err.Error(), "[2001:db8::7]:9090") {
		t.Errorf("%v", err)
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"10.0.0.7:9090", "web-1.example.com:80", "[2001:db8::7]:9090", "::1:80", "[::ffff:1.2.3.4]:80", "a:1", "1.2:3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			return
		}
		if again, err := ParseEndpoint(string(e)); err != nil || again != e {
			t.Errorf("%q is %q, and that is %q, %v", s, e, again, err)
		}
		if whole := net.JoinHostPort(e.Host(), strconv.Itoa(e.Port())); whole != string(e) {
			t.Errorf("%q is %q in parts", e, whole)
		}
		if strings.ContainsAny(string(e), "/ \n\x00'") || strings.HasPrefix(string(e), "-") {
			t.Errorf("endpoint %q", e)
		}
	})
}
