package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestAServersetFileIsOneEndpointALine(t *testing.T) {
	members := []Member{
		{Node: "b-10.0.0.2:80", Endpoint: "10.0.0.2:80"},
		{Node: "a-10.0.0.10:80", Endpoint: "10.0.0.10:80"},
		{Node: "c-10.0.0.2:80", Endpoint: "10.0.0.2:80", Weight: 7}, // the same service, registered again after a reconnect
		{Node: "d-web.example.com:80", Endpoint: "web.example.com:80"},
	}
	want := "10.0.0.10:80\n10.0.0.2:80\nweb.example.com:80\n"
	if got := FormatServerset(members); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	slices.Reverse(members)
	if got := FormatServerset(members); string(got) != want {
		t.Errorf("in another order it is %q", got)
	}
	if got := FormatServerset(nil); len(got) != 0 {
		t.Errorf("nobody is %q; old readers expect 0 bytes", got)
	}
}

func TestOldReadersReadOurServersetFile(t *testing.T) {
	file := string(FormatServerset([]Member{{Endpoint: "10.0.0.1:80"}, {Endpoint: "10.0.0.2:80"}}))
	var hosts []string // what the Python and Java readers do: split, skip what is empty, take the port behind the last colon
	for _, line := range strings.Split(file, "\n") {
		if line != "" {
			hosts = append(hosts, line)
		}
	}
	if !slices.Equal(hosts, []string{"10.0.0.1:80", "10.0.0.2:80"}) {
		t.Errorf("old readers see %q", hosts)
	}
}

func TestServersetFilesThatPeopleMayHave(t *testing.T) {
	for _, test := range []struct {
		file string
		want []Endpoint
	}{
		{"", nil},
		{"\n\n", nil},
		{"10.0.0.2:80\n10.0.0.1:80", []Endpoint{"10.0.0.1:80", "10.0.0.2:80"}},
		{"10.0.0.1:80\r\n10.0.0.1:80\r\n", []Endpoint{"10.0.0.1:80"}},
		{"\n 10.0.0.1:80 \n\nweb:1", []Endpoint{"10.0.0.1:80", "web:1"}},
		{"2001:db8::7:80\n[2001:db8::7]:80\n", []Endpoint{"[2001:db8::7]:80"}},
	} {
		if got, err := ParseServerset([]byte(test.file)); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, %v; want %q", test.file, got, err, test.want)
		}
	}
}

func TestABadServersetFileNamesItsLine(t *testing.T) {
	_, err := ParseServerset([]byte("10.0.0.1:80\n\n10.0.0.184:900010.37.170.125:9006\n"))
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("%v", err)
	}
	if _, err := ParseServerset(make([]byte, maxServerset+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func FuzzParseServerset(f *testing.F) {
	for _, s := range []string{"", "127.0.0.1:23081\n127.0.0.1:23082", "web:1\n\n[::1]:2\n", "::1:80\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		endpoints, err := ParseServerset(data)
		if err != nil {
			return
		}
		members := make([]Member, len(endpoints))
		for i, e := range endpoints {
			members[i].Endpoint = e
		}
		file := FormatServerset(members)
		back, err := ParseServerset(file)
		if err != nil || !slices.Equal(back, endpoints) || strings.Count(string(file), "\n") != len(endpoints) {
			t.Errorf("%q was written as %q, which is %q, %v", endpoints, file, back, err)
		}
	})
}
