package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/kingpinfs/kingpin/registry"
)

func (p *publisher) members(name registry.Name) ([]byte, bool) {
	data, err := os.ReadFile(p.file("members-" + string(name)))
	return data, err == nil
}

const aServerset = "discovery.test.prod"

func TestMembersAreAFile(t *testing.T) {
	m := start(t)
	m.remote("serverset", aServerset, "10.0.0.1:80\n")
	m.wantSoon("serverset/"+aServerset, "10.0.0.1:80\n")
	path := m.path(".members/" + aServerset)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("not known yet:", err)
	}
	now := func(content string) { t.Helper(); m.order("/members?name="+aServerset, content) }
	now("[1]\n")
	m.want(".members/"+aServerset, "[1]\n")
	before, err := os.Stat(path)
	if err != nil || before.Size() != 4 || before.Mode() != 0o444 {
		t.Fatal(before, err)
	}
	open, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	long := "[" + strings.Repeat("2, ", 100_000) + "2]\n"
	now(long)
	m.want(".members/"+aServerset, long)
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(long)) || !info.ModTime().After(before.ModTime()) {
		t.Error(info, err)
	}
	if info, err := open.Stat(); err != nil || info.Size() != 4 {
		t.Error("an open file changed:", info, err)
	}
	if data, err := io.ReadAll(open); err != nil || string(data) != "[1]\n" {
		t.Errorf("an open file reads %q, %v", data, err)
	}
	if names, err := os.ReadDir(m.path(".members")); err != nil || len(names) != 1 || names[0].Name() != aServerset {
		t.Error(names, err)
	}
	if err := os.WriteFile(path, nil, 0); !errors.Is(err, syscall.EPERM) {
		t.Error(err)
	}

	m.killServer()
	m.want(".members/"+aServerset, long)
	finish := m.load("members", path)
	for i := range 200 {
		now(strings.Repeat(fmt.Sprint(i%10), 1+i*37) + "\n")
	}
	finish()
}

// runMembers reads a file whose content is one digit repeated, and checks that it never sees two contents in one, or another size.
func runMembers(path string, end <-chan struct{}) error {
	for count := 0; ; count++ {
		select {
		case <-end:
			fmt.Println(0, count)
			return nil
		default:
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		info, err := file.Stat()
		data, failed := io.ReadAll(file)
		file.Close()
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if body := strings.TrimSuffix(string(data), "\n"); int64(len(data)) != info.Size() ||
			strings.Trim(body, body[:1]) != "" && body[0] != '[' {
			return fmt.Errorf("%d bytes of %d: %.40q", len(data), info.Size(), data)
		}
	}
}
