package main

import (
	"golang.org/x/sys/unix"
)

// xattrPrefix is before the names of what the mount says of a file.
const xattrPrefix = "user.kingpin."

// xattr is one attribute of the file at a path.
func xattr(path, name string) (string, error) {
	return readXattr(func(into []byte) (int, error) { return unix.Getxattr(path, xattrPrefix+name, into) })
}

// fxattr is one attribute of an open file.
func fxattr(fd int, name string) (string, error) {
	return readXattr(func(into []byte) (int, error) { return unix.Fgetxattr(fd, xattrPrefix+name, into) })
}

// readXattr asks for the size, then for the value, again if it grew in between.
func readXattr(get func([]byte) (int, error)) (string, error) {
	for {
		n, err := get(nil)
		if err != nil {
			return "", err
		}
		value := make([]byte, max(n, 1)) // into no bytes at all it would say the size once more
		n, err = get(value)
		if err == unix.ERANGE {
			continue
		}
		if err != nil {
			return "", err
		}
		return string(value[:n]), nil
	}
}
