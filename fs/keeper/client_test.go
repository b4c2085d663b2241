package keeper

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// readerMain opens, reads and closes the file in FILE as fast as it can until its input ends, and counts.
func readerMain() error {
	stop := make(chan struct{})
	go func() {
		os.Stdin.Read(make([]byte, 1))
		close(stop)
	}()
	var reads, failed int
	var longest time.Duration
	for {
		select {
		case <-stop:
			fmt.Printf("reads=%d failed=%d longest=%v\n", reads, failed, longest)
			return nil
		default:
		}
		start := time.Now()
		err := readOnce(os.Getenv("FILE"))
		longest = max(longest, time.Since(start))
		reads++
		if err != nil {
			failed++
			fmt.Println("failed:", err)
		}
	}
}

func readOnce(path string) error {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 100)
	var n int
	err = again(func() (err error) {
		n, err = unix.Read(fd, buf)
		return err
	})
	if err == nil && string(buf[:n]) != content && (os.Getenv("LOOP") != "any" || string(buf[:n]) != plainContent) {
		return fmt.Errorf("read %q", buf[:n])
	}
	return err
}

// catMain reads FILE once. With HOLD it opens it, says so, and reads when its input ends.
func catMain() error {
	if os.Getenv("HOLD") == "" {
		return readOnce(os.Getenv("FILE"))
	}
	fd, err := unix.Open(os.Getenv("FILE"), unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	fmt.Println("open")
	os.Stdin.Read(make([]byte, 1))
	n, err := unix.Read(fd, make([]byte, 100))
	fmt.Println("read", n, err)
	return nil
}

// watchMain prints the inotify events of FILE, its last part being the name; it never opens what it watches.
func watchMain() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	for _, path := range strings.Split(os.Getenv("FILE"), ":") {
		wd, err := unix.InotifyAddWatch(fd, path, unix.IN_ALL_EVENTS)
		if err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		fmt.Println("watching", wd)
	}
	out := bufio.NewWriter(os.Stdout)
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return errors.Join(err, out.Flush())
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			wd, mask, size := binary.NativeEndian.Uint32(rest), binary.NativeEndian.Uint32(rest[4:]), binary.NativeEndian.Uint32(rest[12:])
			name := strings.TrimRight(string(rest[16:16+size]), "\x00")
			fmt.Fprintf(out, "%d %s %s\n", wd, maskName(mask), name)
			rest = rest[16+size:]
		}
		out.Flush()
	}
}

func maskName(mask uint32) string {
	names := []struct {
		bit  uint32
		name string
	}{
		{unix.IN_OPEN, "OPEN"}, {unix.IN_MODIFY, "MODIFY"}, {unix.IN_CLOSE_WRITE, "CLOSE_WRITE"},
		{unix.IN_ATTRIB, "ATTRIB"}, {unix.IN_CREATE, "CREATE"}, {unix.IN_DELETE, "DELETE"}, {unix.IN_UNMOUNT, "UNMOUNT"},
		{unix.IN_ACCESS, "ACCESS"}, {unix.IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"}, {unix.IN_IGNORED, "IGNORED"},
	}
	for _, n := range names {
		if mask&n.bit != 0 {
			return n.name
		}
	}
	return fmt.Sprintf("%#x", mask)
}
