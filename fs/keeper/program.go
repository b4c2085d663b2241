package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// program is a command line, and the file that it meant when it was given. Packages replace that file before anybody asks for an
// upgrade, and a server that dies in between must not be followed by one that nobody has tried.
type program struct {
	argv []string
	file *os.File // open for nothing but to be executed; nil: it could not be found
}

func findProgram(argv []string) program {
	p := program{argv: argv}
	if len(argv) > 0 {
		if path, err := exec.LookPath(argv[0]); err == nil {
			p.file, _ = os.OpenFile(path, unix.O_PATH, 0)
		}
	}
	return p
}

func (p program) close() {
	if p.file != nil {
		p.file.Close()
	}
}

// command runs the program under its name, as long as that is its name.
func (p program) command() *exec.Cmd {
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	if p.file == nil {
		return cmd
	}
	here, err := p.file.Stat()
	there, err1 := os.Stat(cmd.Path)
	if err == nil && (err1 != nil || !os.SameFile(here, there)) {
		cmd.Path, cmd.Err = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.file.Fd()), nil
	}
	return cmd
}

// nameProcess gives this process the name that it has in its command line, for ps and the like: the kernel names it after the file
// that was run, which may be a number.
func nameProcess() { _ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0) }
