package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/registry"
)

func TestHealthRisesAndFalls(t *testing.T) {
	h := health{rise: 2, fall: 3}
	bad := errors.New("no")
	var said strings.Builder
	for _, err := range []error{nil, bad, nil, nil, bad, bad, nil, bad, bad, bad, bad, nil, nil} {
		h.note(err)
		said.WriteByte("-+"[map[bool]int{true: 1}[h.healthy]])
	}
	if got, want := said.String(), "---++++++---+"; got != want {
		t.Errorf("it was %s, want %s", got, want)
	}
}

func TestChecks(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
		case "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
	}))
	defer web.Close()
	here := registry.Endpoint(web.Listener.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := registry.Endpoint(closed.Addr().String())
	closed.Close()
	for _, c := range []struct {
		text string
		e    registry.Endpoint
		good bool
	}{
		{"tcp", here, true}, {"tcp", gone, false},
		{"http:/ok", here, true}, {"http:/moved", here, true}, {"http:/broken", here, false}, {"http:/slow", here, false}, {"http:/ok", gone, false},
		{"exec:true", gone, true}, {"exec:test 1 = 1 && exit 0", gone, true}, {"exec:exit 3", gone, false}, {"exec:sleep 60", gone, false}, {"exec:sleep 60 & wait", gone, false},
	} {
		look, err := parseCheck(c.text, c.e)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		limit := 500 * time.Millisecond // some hang
		if c.good {
			limit = time.Minute // on a busy machine
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		if err := look(ctx); (err == nil) != c.good {
			t.Errorf("%s of %s: %v", c.text, c.e, err)
		}
		cancel()
	}
	for _, bad := range []string{"udp", "http", "http:", "http:ok", "http://other/", "exec:", "exec: ", "tcp:80", "https:/"} {
		if _, err := parseCheck(bad, here); err == nil {
			t.Errorf("%q is a check", bad)
		}
	}
	if look, err := parseCheck("", here); look != nil || err != nil {
		t.Errorf("no check is %p, %v", look, err)
	}
}
