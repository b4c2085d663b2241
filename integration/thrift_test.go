package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kingpinfs/kingpin/thriftclient"
)

// TestThriftExample is the page of examples/thrift: a server registers itself, and clients in Go and Python find it in the mount.
func TestThriftExample(t *testing.T) {
	needProgram(t, "/usr/bin/python3", "thrift")
	_, err := os.Stat("/usr/lib/python3/dist-packages/thrift")
	need(t, "Debian's python3-thrift", err == nil)
	m := monitor(t)
	dir := directory(t)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "./examples/thrift/server", "./examples/thrift/client")
	build.Dir = repository(t)
	if out := result(t, build); out.code != 0 {
		t.Fatal(out)
	}
	kingpin(t, m, "create", service)
	client := func() outcome {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "client"))
		cmd.Env = append(os.Environ(), "KINGPIN_MOUNT="+m.Mount)
		return result(t, cmd)
	}
	if out := client(); out.code != 1 || !strings.Contains(out.stderr, "no hosts") {
		t.Errorf("nobody serves, and the client says %v", out)
	}

	ports := []int{serveThrift(t, m, dir, 1), serveThrift(t, m, dir, 3)}
	eventually(t, "both servers are registered", func() bool {
		return m.shows("serverset/"+service, fmt.Sprintf("127.0.0.1:%d\n127.0.0.1:%d\n", min(ports[0], ports[1]), max(ports[0], ports[1])))
	})
	pool, err := thriftclient.Open(service, thriftclient.Options{Dir: m.Mount})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close(context.Background())
	eventually(t, "the weights of the registrations are known", func() bool {
		weights := map[string]float64{}
		for _, h := range pool.Hosts() {
			weights[h.Endpoint] = h.Weight
		}
		return weights[fmt.Sprint("127.0.0.1:", ports[0])] == 0.5 && weights[fmt.Sprint("127.0.0.1:", ports[1])] == 1.5
	})
	for range 3 {
		if out := client(); out.code != 0 || out.stdout != "pong\n" {
			t.Errorf("the client in Go: %v", out)
		}
	}

	example := filepath.Join(repository(t), "examples", "thrift")
	generate := exec.CommandContext(t.Context(), "thrift", "--gen", "py", "-out", dir, filepath.Join(example, "test_service.thrift"))
	if out := result(t, generate); out.code != 0 {
		t.Fatal(out)
	}
	python := exec.CommandContext(t.Context(), "/usr/bin/python3", filepath.Join(example, "client.py"), service)
	python.Env = append(os.Environ(), "KINGPIN_MOUNT="+m.Mount, "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1")
	if out := result(t, python); out.code != 0 || out.stdout != "pong\n" {
		t.Errorf("the client in Python: %v", out)
	}
}

// serveThrift has kingpin register run the server of the example, until the test ends.
func serveThrift(t *testing.T, m *Monitor, dir string, weight int) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	number := strconv.Itoa(port)
	// Not the test's context: it is over before the cleanup that lets it end in peace.
	cmd := m.Command(context.Background(), "register", "--service", "test_service", "--env", "prod", "--host", "127.0.0.1", "--port", number,
		"--weight", strconv.Itoa(weight), "--check", "tcp", "--interval", "1s", "--rise", "1", "--drain", "0s", "--", filepath.Join(dir, "server"), "-listen", "127.0.0.1:"+number)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // with the status of the server
	})
	return port
}

// TestReadmeGoCompiles: whoever copies Go from the README has a program.
func TestReadmeGoCompiles(t *testing.T) {
	readme := read(t, filepath.Join(repository(t), "README.md"))
	programs := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindAllStringSubmatch(readme, -1)
	if len(programs) == 0 {
		t.Fatal("the README has no program in Go")
	}
	for _, p := range programs {
		source := filepath.Join(directory(t), "main.go")
		if err := os.WriteFile(source, []byte(p[1]), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"vet", source}, {"build", "-o", os.DevNull, source}} {
			cmd := exec.CommandContext(t.Context(), "go", args...)
			cmd.Dir = repository(t)
			if out := result(t, cmd); out.code != 0 {
				t.Errorf("go %s: %v", args[0], out)
			}
		}
	}
}
