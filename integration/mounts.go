package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mounted is one line of this process's mountinfo.
type Mounted struct {
	Point  string
	Type   string // fuse.kingpin, tmpfs, ...
	Device string // major:minor; a FUSE connection is named by its minor
}

// Mounts lists what is mounted at or below dir, the one that is seen last.
func Mounts(dir string) ([]Mounted, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []Mounted
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ") // proc(5): optional fields end with a lone dash
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 1 {
			return nil, fmt.Errorf("mountinfo: %q", line)
		}
		point := unescape(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			found = append(found, Mounted{Point: point, Type: kind[0], Device: fields[2]})
		}
	}
	return found, nil
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// Unmount takes away everything at or below dir, the last mount first, and says what there was: nil if nothing.
func Unmount(dir string) error {
	mounts, err := Mounts(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		errs = append(errs, fmt.Errorf("mount left behind: %s (%s)", m.Point, m.Type))
		if err := unix.Unmount(m.Point, unix.MNT_FORCE); err != nil {
			errs = append(errs, unix.Unmount(m.Point, unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// Abort ends the FUSE connections of the monitor's mount: whoever waits for the server gets an error instead. It needs no
// answer from the server and may be called at any time.
func (m *Monitor) Abort() {
	mounts, err := Mounts(m.Mount)
	if err != nil {
		return
	}
	for _, mounted := range mounts {
		if !strings.HasPrefix(mounted.Type, "fuse") {
			continue
		}
		_, minor, _ := strings.Cut(mounted.Device, ":")
		if _, err := strconv.Atoi(minor); err != nil {
			continue
		}
		abort := filepath.Join("/sys/fs/fuse/connections", minor, "abort")
		if err := os.WriteFile(abort, []byte("1"), 0); err != nil { // fusectl is not mounted in every container
			_ = unix.Unmount(mounted.Point, unix.MNT_FORCE)
		}
	}
}
