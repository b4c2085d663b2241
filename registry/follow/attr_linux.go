package follow

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// version is KingPin's version of the open file. It is asked of the descriptor: the path may lead to another version by now.
func version(f *os.File) string {
	value := make([]byte, 64)
	n, err := syscall.Getxattr("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), "user.kingpin.version", value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

// otherDevice says whether the file is from another file system than its directory: a single file that was bound into a container.
func otherDevice(dir string, file fs.FileInfo) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	a, ok := info.Sys().(*syscall.Stat_t)
	b, ok2 := file.Sys().(*syscall.Stat_t)
	return ok && ok2 && a.Dev != b.Dev
}
