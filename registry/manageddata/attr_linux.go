package manageddata

import (
	"os"
	"strconv"
	"syscall"
)

// descriptor is the path by which the system calls without a descriptor reach an open file.
func descriptor(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// mounted says whether the open file is in a mount of KingPin: only there files have versions.
func mounted(f *os.File) bool {
	_, err := syscall.Getxattr(descriptor(f), "user.kingpin.version", make([]byte, 64))
	return err == nil
}

func attribute(f *os.File, name string) string {
	value := make([]byte, 64)
	n, err := syscall.Getxattr(descriptor(f), name, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

func setAttribute(f *os.File, name, value string) error {
	err := syscall.Setxattr(descriptor(f), name, []byte(value), 0)
	if err != nil {
		return &os.PathError{Op: "set " + name + " of", Path: f.Name(), Err: err}
	}
	return nil
}
