package embedded

import "golang.org/x/sys/unix"

// trimEvery is how many looks at the file go by until the pages that they touched are given back. bbolt maps the file, and what was
// touched counts as the process's memory until the machine runs short: at 10,000 names some 30 MB.
const trimEvery = 1000

// trim takes the mapped pages out of this process; the kernel's page cache keeps them. The caller holds a transaction, so that the
// map stays where it is.
func (r *Registry) trim() {
	if r.views.Add(1)%trimEvery != 0 {
		return
	}
	info, err := r.file.Stat()
	if err != nil {
		return
	}
	mapped := r.db.Info()
	size := uintptr(info.Size()) &^ uintptr(unix.Getpagesize()-1)
	if mapped.Data == 0 || size == 0 {
		return
	}
	// An error means that the pages stay: there is nobody to tell.
	unix.Syscall(unix.SYS_MADVISE, mapped.Data, size, unix.MADV_DONTNEED)
}
