package zookeeper

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/kingpinfs/kingpin/registry"
)

// recorded is what a server has said to a new client: its greeting; its answers to authentication, sync and exists; two events, and
// its answer to a request for watches.
func recorded(t testing.TB) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "greeting.hex"))
	if err != nil {
		t.Fatal(err)
	}
	var messages [][]byte
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		message, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if len(message) > 0 {
			messages = append(messages, message)
		}
	}
	return messages
}

// talk has the whole conversation with a server that says what it says.
func talk(server io.Reader) (s session, e Ensemble, events []zk.Event, err error) {
	t := &conversation{to: io.Discard, from: bufio.NewReader(server), heard: func(e zk.Event) { events = append(events, e) }}
	if s, _, err = t.connect(session{}, 16*time.Second); err != nil || s.id == 0 {
		return s, e, events, err
	}
	if e, _, err = t.ensemble("user:password", "/metaconfig", nil); err != nil {
		return s, e, events, err
	}
	return s, e, events, t.rewatch(1, watches{data: []string{"/a"}, exist: []string{"/b"}, child: []string{"/c"}})
}

func TestGreeting(t *testing.T) {
	s, e, events, err := talk(bytes.NewReader(bytes.Join(recorded(t), nil)))
	if err != nil {
		t.Fatal(err)
	}
	if s.id != 0x100005f75ad0001 || s.timeout != 16*time.Second || len(s.password) != passwordSize {
		t.Errorf("the session is %+v", s)
	}
	if e.Root != "2-1a201d2cb03" || e.Zxid != 7 {
		t.Errorf("the ensemble is %+v", e)
	}
	if len(events) != 2 || events[0].Type != zk.EventNodeDataChanged || events[0].Path != "/a" ||
		events[1].Type != zk.EventNodeChildrenChanged || events[1].Path != "/c" {
		t.Errorf("the events are %+v", events)
	}
}

func TestGreetingIsCutOff(t *testing.T) {
	whole := bytes.Join(recorded(t), nil)
	for n := range len(whole) {
		if _, _, _, err := talk(bytes.NewReader(whole[:n])); err == nil {
			t.Fatalf("after %d of %d bytes all seems well", n, len(whole))
		}
	}
}

func FuzzGreeting(f *testing.F) {
	f.Add(bytes.Join(recorded(f), nil))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		s, _, events, err := talk(bytes.NewReader(said))
		if err == nil && s.id != 0 && len(s.password) > len(said) {
			t.Errorf("from %d bytes a password of %d", len(said), len(s.password))
		}
		for _, e := range events {
			if len(e.Path) > len(said) {
				t.Errorf("from %d bytes a path of %d", len(said), len(e.Path))
			}
		}
	})
}

// TestRewatchInParts: ten thousand watches are asked for in messages that a server takes.
func TestRewatchInParts(t *testing.T) {
	var w watches
	for range 5000 {
		w.data = append(w.data, "/config/manageddata/"+strings.Repeat("d", 80))
		w.exist = append(w.exist, "/config/manageddata/"+strings.Repeat("e", 80))
		w.child = append(w.child, "/discovery/"+strings.Repeat("c", 80))
	}
	var said bytes.Buffer
	answer := request(xidSetWatches, 0).int32(5).int32(0).frame() // zxid 5, no error: the layout of a reply's header
	conversation := &conversation{to: &said, from: bufio.NewReader(bytes.NewReader(bytes.Repeat(answer, 100)))}
	if err := conversation.rewatch(1, w); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for said.Len() > 0 {
		head := said.Next(4)
		n := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
		if n > maxWatchMessage+1024 {
			t.Errorf("a message of %d bytes", n)
		}
		asked += bytes.Count(said.Next(n), []byte("/"))
	}
	if want := 5000 * (3 + 3 + 2); asked != want {
		t.Errorf("%d slashes, want %d", asked, want)
	}
}

// TestServerIsNone: what listens there is something else, or says what makes no sense. It is not reachable, and nothing worse.
func TestServerIsNone(t *testing.T) {
	messages := recorded(t)
	greeted := bytes.Join(messages[:1], nil)
	whole := bytes.Join([][]byte{messages[0], messages[2], messages[3]}, nil) // no authentication, no watches
	exists := bytes.Clone(messages[3])
	exists[7] = 99 // nobody has asked that
	for name, says := range map[string][]byte{
		"a web server":                        []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"nothing":                             nil,
		"an empty message":                    {0, 0, 0, 0},
		"a session and nothing more":          greeted,
		"a session and nonsense":              append(bytes.Clone(greeted), 0, 0, 0, 3, 1, 2, 3),
		"a greeting and an empty message":     append(bytes.Clone(whole), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"a greeting and an event too short":   append(bytes.Clone(whole), 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"a greeting and far too much":         append(bytes.Clone(whole), bytes.Repeat([]byte{0xff}, 100)...),
		"a greeting and a negative event":     append(bytes.Clone(whole), 0, 0, 0, 28, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xf0),
		"a greeting and an answer too short":  append(bytes.Clone(whole), 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0),
		"a greeting and an answer to nothing": append(bytes.Clone(whole), exists...),
		"a greeting and an event, for nobody": append(bytes.Clone(whole), messages[4]...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			defer serving.Wait()
			defer listener.Close()
			answered := make(chan struct{}, 100)
			serving.Go(func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					serving.Go(func() {
						defer conn.Close()
						conn.Write(says)
						conn.(*net.TCPConn).CloseWrite()
						io.Copy(io.Discard, conn)
						select {
						case answered <- struct{}{}:
						default:
						}
					})
				}
			})
			c, err := Open(listener.Addr().String(), Options{MaxBackoff: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for range 5 {
				<-answered
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := c.State(ctx, "/config/a"); err == nil {
				t.Error("it has a state")
			}
		})
	}
}

func TestServers(t *testing.T) {
	for s, want := range map[string]string{
		"zk1":                        "zk1 2181 ",
		"zk1:2182":                   "zk1 2182 ",
		"zk1:2182,10.0.0.1":          "zk1 2182, 10.0.0.1 2181 ",
		" zk1:2181 , zk2:2181,":      "zk1 2181, zk2 2181 ",
		"[2001:db8::1]:2182,zk2":     "2001:db8::1 2182, zk2 2181 ",
		"[2001:db8::1]":              "2001:db8::1 2181 ",
		"2001:db8::1":                "2001:db8::1 2181 ",
		"zk1,zk2:2183/kingpin/prod/": "zk1 2181, zk2 2183 /kingpin/prod",
		"zk1/":                       "zk1 2181 ",
	} {
		servers, chroot, err := parseServers(s)
		var hosts []string
		for _, s := range servers {
			hosts = append(hosts, s.host+" "+s.port)
		}
		if got := strings.Join(hosts, ", ") + " " + chroot; err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"", ",", "/kingpin", "zk1:0", "zk1:x", "zk1:65536", ":2181", "zk1:1:2", "[::1", "zk1/a//b", "zk1/../b", "zk1/a b"} {
		if _, _, err := parseServers(s); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, o := range []Options{{Auth: "nobody"}, {Auth: ":x"}, {Auth: "a:b\nc"}, {ACL: []ACL{{"rx", "world", "anyone"}}}} {
		if _, err := Open("zk1", o); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// TestPauses are random, grow, and are no longer than a tenth of an outage that has lasted long.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{options: Options{}.withDefaults()}
		o := &outage{start: time.Now()}
		longest := func() (longest time.Duration) {
			for range 1000 {
				longest = max(longest, c.pause(o))
			}
			return longest
		}
		if p := longest(); p > firstPause || p < firstPause/2 {
			t.Errorf("the first pause is up to %v", p)
		}
		o.attempts = 3
		if p := longest(); p > 8*firstPause || p < 4*firstPause {
			t.Errorf("the fourth is up to %v", p)
		}
		o.attempts = 1000
		if p := longest(); p > 3*time.Second || p < 2*time.Second {
			t.Errorf("a late one is up to %v", p)
		}
		time.Sleep(100 * time.Second)
		if p := longest(); p > 10*time.Second || p < 8*time.Second {
			t.Errorf("after 100 s one is up to %v", p)
		}
		time.Sleep(time.Hour)
		if p := longest(); p > longPause || p < 25*time.Second {
			t.Errorf("after an hour one is up to %v", p)
		}
		c.joined = map[string]bool{"/discovery/user/prod/m": true}
		if p := longest(); p < 25*time.Second {
			t.Errorf("with a member, at a server that does not answer, one is up to %v", p)
		}
		o.closed = true
		if p := longest(); p > memberPause || p < memberPause/2 {
			t.Errorf("with a member, while nobody listens, one is up to %v", p)
		}
	})
}

func TestContenders(t *testing.T) {
	got := strings.Join(contenders([]string{
		"885edc692092414d8eaac184e6ba64b8__lock__0000000012",
		"note",
		"985edc692092414d8eaac184e6ba64b8__lock__0000000003",
		"_c_885edc69-lock-0000000001", // go-zookeeper's, which kazoo does not see either
		"a85edc692092414d8eaac184e6ba64b8__rlock__0000000007",
		"b85edc692092414d8eaac184e6ba64b8__lock__-2147483648",
	}), " ")
	want := "b85edc692092414d8eaac184e6ba64b8__lock__-2147483648 985edc692092414d8eaac184e6ba64b8__lock__0000000003 " +
		"a85edc692092414d8eaac184e6ba64b8__rlock__0000000007 885edc692092414d8eaac184e6ba64b8__lock__0000000012"
	if got != want {
		t.Errorf("the queue is %s", got)
	}
}
