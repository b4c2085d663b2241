package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNotifications(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	m.cat(t) // the kernel knows the file now
	tests := []struct {
		op   Op
		want unix.Errno
	}{
		{Op{Kind: InvalidateInode, Node: fileNode}, 0},
		{Op{Kind: InvalidateInode, Node: 1 << 40}, unix.ENOENT},
		{Op{Kind: InvalidateEntry, Parent: 1, Name: "nobody"}, unix.ENOENT},
		{Op{Kind: InvalidateEntry, Parent: 1 << 40, Name: fileName}, unix.ENOENT},
		{Op{Kind: InvalidateEntry, Parent: 1, Name: fileName}, 0},
		{Op{Kind: InvalidateInode, Node: fileNode}, unix.ENOENT}, // the entry held it
		{Op{Kind: DeleteEntry, Parent: 1, Node: fileNode, Name: fileName}, unix.ENOENT},
		{Op{Kind: Touch, Path: "nobody"}, unix.ENOENT},
		{Op{Kind: Touch, Path: fileName}, 0},
		{Op{Kind: DeleteEntry, Parent: 1, Node: fileNode, Name: fileName}, 0},
		{Op{Kind: MakeDir, Path: fileName}, unix.EEXIST},
		{Op{Kind: Modify, Path: "nobody"}, unix.ENOENT},
		{Op{Kind: OpKind(99)}, unix.ENOSYS},
	}
	for _, test := range tests {
		var d did
		if test.op.Kind == InvalidateInode { // the kernel holds an inode until it has heard that the last who had it open was released
			eventually(t, fmt.Sprintf("%+v: %v", test.op, test.want), func() bool {
				d = m.do(1, test.op)
				return d.err != "<nil>" || d.results[0] == test.want
			})
		} else {
			d = m.do(1, test.op)
		}
		if d.err != "<nil>" || d.results[0] != test.want {
			t.Errorf("%+v: %v %v, want %v", test.op, d.results, d.err, test.want)
		}
	}
}

func TestTouchIsOneEventOnTheFileAndItsDirectory(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	watch := start(t, "watch", "FILE="+m.mount+":"+m.mount+"/"+fileName)
	eventually(t, "both are watched", func() bool { return strings.Count(watch.log.String(), "watching") == 2 })
	const touches = 3
	for n := range touches {
		if d := m.do(1, Op{Kind: Touch, Path: fileName}); d.err != "<nil>" || d.results[0] != 0 {
			t.Fatalf("touch: %+v", d)
		}
		eventually(t, "the events come", func() bool { return strings.Count(watch.log.String(), "CLOSE_WRITE") == 2*(n+1) })
	}
	var want strings.Builder
	want.WriteString("watching 1\nwatching 2\n")
	for range touches {
		for _, event := range []string{"OPEN", "MODIFY", "CLOSE_WRITE"} {
			fmt.Fprintf(&want, "1 %s %s\n2 %s \n", event, fileName, event)
		}
	}
	if got := watch.log.String(); got != want.String() {
		t.Errorf("heard:\n%swant:\n%s", got, want.String())
	}
}

func TestLongBatchIsDoneWholeAndInOrder(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	const count = 5000
	d := m.do(count, Op{Kind: InvalidateEntry, Parent: 1, Name: strings.Repeat("n", 200)})
	if d.err != "<nil>" || len(d.results) != count {
		t.Fatalf("%d results, %v", len(d.results), d.err)
	}
	if i := slices.IndexFunc(d.results, func(e unix.Errno) bool { return e != unix.ENOENT }); i >= 0 {
		t.Errorf("result %d: %v", i, d.results[i])
	}
	t.Logf("%d notifications took %v", count, d.took)
	if d := m.do(1, Op{Kind: Touch, Path: strings.Repeat("/x", unix.PathMax)}); !strings.Contains(d.err, "too long") {
		t.Errorf("a path that is too long: %v", d.err)
	}
}

func TestPokerIsReplacedAndItsLostWorkIsSaid(t *testing.T) {
	m := newMonitor(t)
	m.serving(1)
	last := 0
	for range 5 {
		pid := m.poker(last)
		eventually(t, "the server knows the new poker", func() bool {
			d := m.do(1, Op{Kind: Touch, Path: fileName})
			return d.thread == uint32(pid) && d.err == "<nil>" && d.results[0] == 0
		})
		unix.Kill(pid, unix.SIGSTOP)
		stopped := &child{cmd: &exec.Cmd{Process: &os.Process{Pid: pid}}}
		eventually(t, "it has stopped", stopped.stopped)
		lost := make(chan did, 1)
		go func() { d, _ := m.try(1, Op{Kind: Touch, Path: fileName}); lost <- d }()
		go func() { m.try(1, Op{Kind: Touch, Path: fileName}) }() // waits for its turn and is done by the next poker, or lost
		select {
		case d := <-lost:
			t.Fatalf("a stopped poker answered: %+v", d)
		case <-time.After(20 * time.Millisecond):
		}
		unix.Kill(pid, unix.SIGKILL)
		if d := <-lost; !strings.Contains(d.err, ErrPoker.Error()) && d.err != "<nil>" {
			t.Errorf("after the poker's death: %+v", d)
		}
		last = pid
	}
}

// silentPoker is a Poker with a test at the other end of its socket.
func silentPoker(t *testing.T, incarnation uint32) (p *Poker, other *os.File) {
	mine, its, err := pair("poker")
	if err != nil {
		t.Fatal(err)
	}
	if err := its.SetDeadline(time.Time{}); err == nil {
		t.Fatal("the poker's end is not blocking")
	}
	p, err = newPoker(mine, incarnation, 7)
	if err != nil {
		t.Fatal(err)
	}
	var joined sync.WaitGroup
	joined.Go(p.listen)
	t.Cleanup(func() {
		mine.Close()
		joined.Wait()
		its.Close()
	})
	if got := hear(t, its); string(got) != string(welcome(7)) {
		t.Fatalf("first message: %q", got)
	}
	return p, its
}

func hear(t *testing.T, from *os.File) []byte {
	t.Helper()
	buf := make([]byte, maxMessage)
	n, err := from.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestDoIsLeftWhenItsContextEndsAndTheNextIsAnswered(t *testing.T) {
	p, other := silentPoker(t, 3)
	ops := []Op{{Kind: Touch, Path: "/a"}, {Kind: Touch, Path: "/b"}}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := p.Do(ctx, ops)
		left <- err
	}()
	first, _, err := decode(hear(t, other))
	if err != nil || first>>32 != 3 {
		t.Fatalf("id %#x, %v", first, err)
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("left with %v", err)
	}
	answered := make(chan did)
	go func() {
		results, err := p.Do(t.Context(), ops)
		answered <- did{results: results, err: fmt.Sprint(err)}
	}()
	other.Write(encodeAnswer(2<<32|first&0xffffffff, []unix.Errno{1, 1})) // to a server before this one
	other.Write([]byte("nonsense"))
	other.Write(encodeAnswer(first, []unix.Errno{2, 2})) // to the caller who left
	second, got, err := decode(hear(t, other))
	if err != nil || second != first+1 || !slices.Equal(got, ops) {
		t.Fatalf("id %#x, %v, %v", second, got, err)
	}
	other.Write(encodeAnswer(second, []unix.Errno{0, unix.ENOENT}))
	if d := <-answered; d.err != "<nil>" || !slices.Equal(d.results, []unix.Errno{0, unix.ENOENT}) {
		t.Errorf("answered %+v", d)
	}
}

func TestDoEndsWhenThePokerIsReplacedOrStopped(t *testing.T) {
	p, other := silentPoker(t, 1)
	if !p.Is(7) || p.Is(0) || p.Is(8) {
		t.Error("thread 7 is not the poker, or another is")
	}
	lost := make(chan error)
	do := func() {
		_, err := p.Do(t.Context(), []Op{{Kind: Touch, Path: "/a"}})
		lost <- err
	}
	go do()
	hear(t, other)
	if err := p.changed(8); err != nil {
		t.Fatal(err)
	}
	if err := <-lost; !errors.Is(err, ErrPoker) || !errors.Is(err, unix.EPIPE) {
		t.Errorf("after a new poker: %v", err)
	}
	if got := hear(t, other); string(got) != string(welcome(8)) || p.Thread() != 8 {
		t.Errorf("heard %q, thread %d", got, p.Thread())
	}
	go do()
	go do()
	hear(t, other)
	p.stop()
	for range 2 {
		if err := <-lost; !errors.Is(err, ErrPoker) {
			t.Errorf("after the stop: %v", err)
		}
	}
	go do()
	if err := <-lost; !errors.Is(err, ErrPoker) {
		t.Errorf("long after the stop: %v", err)
	}
}

func TestDrain(t *testing.T) {
	p, other := silentPoker(t, 1)
	for range 1000 { // servers that die one after another while the poker waits
		if err := p.changed(9); err != nil {
			t.Fatal(err)
		}
		drain(other)
	}
}

func TestCodec(t *testing.T) {
	ops := []Op{
		{Kind: InvalidateEntry, Parent: 1, Name: "a"},
		{Kind: MakeLink, Path: "/x/y", Name: "../z"},
		{Kind: InvalidateInode, Node: ^uint64(0)},
	}
	msg, n, err := encode(77, ops)
	if err != nil || n != len(ops) {
		t.Fatal(n, err)
	}
	id, got, err := decode(msg)
	if id != 77 || !reflect.DeepEqual(got, ops) || err != nil {
		t.Errorf("%d %v %v", id, got, err)
	}
	results := []unix.Errno{0, unix.ENOENT, unix.EHWPOISON}
	id, back, err := decodeAnswer(encodeAnswer(78, results))
	if id != 78 || !slices.Equal(back, results) || err != nil {
		t.Errorf("%d %v %v", id, back, err)
	}
}

func FuzzDecode(f *testing.F) {
	msg, _, _ := encode(1, []Op{{Kind: Touch, Name: "n", Path: "/p"}})
	f.Add(msg)
	f.Add(encodeAnswer(1, []unix.Errno{2}))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if id, ops, err := decode(msg); err == nil && len(msg) <= maxMessage {
			again, n, err := encode(id, ops)
			if err == nil && (n != len(ops) || !bytes.Equal(again, msg)) {
				t.Errorf("%x became %x", msg, again)
			}
		}
		decodeAnswer(msg)
	})
}

// A full socket must not make the keeper wait.
func TestNoticeThatNobodyReads(t *testing.T) {
	mine, its, err := pair("server")
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	defer its.Close()
	for err == nil {
		err = sendNow(mine, make([]byte, maxMessage))
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Error(err)
	}
}
