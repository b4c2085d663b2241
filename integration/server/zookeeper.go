package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// jars are where Debian's package zookeeper puts the server. Its manifest names most of what it needs, but neither what its secure
// port does nor a log.
const jars = "/usr/share/java/zookeeper.jar:/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:/usr/share/java/slf4j-simple.jar"

// startTime is what a server is given to answer. It takes one second on an idle machine.
const startTime = time.Minute

// ZooKeeper is one server, alone or of an Ensemble. It can be stopped and started again, at the same address and with the same data.
type ZooKeeper struct {
	Addr   string // host:port
	Secure string // that of its TLS port, if config names a key store

	dir     string
	config  []string
	id      int // in an ensemble, from 1; 0: it is alone
	process *process
}

// NeedZooKeeper skips a test where a server cannot run, or fails it where everything has to run.
func NeedZooKeeper(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("java"); err != nil {
		missing(t, errors.New("this needs Java, Debian's default-jre-headless"))
	}
	if _, err := os.Stat(strings.Split(jars, ":")[0]); err != nil {
		missing(t, errors.New("this needs Debian's package zookeeper"))
	}
}

// StartZooKeeper starts a server that ends with the test. Each line of config is one of zoo.cfg, see NewZooKeeper.
func StartZooKeeper(t testing.TB, config ...string) *ZooKeeper {
	t.Helper()
	NeedZooKeeper(t)
	z, err := NewZooKeeper(t.TempDir(), config...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Kill)
	if err := z.Start(); err != nil {
		t.Fatal(err)
	}
	return z
}

// NewZooKeeper returns a server that keeps everything below dir, and is not started yet. Lines of config come after its own, and
// the last one wins: tickTime=2000. It grants sessions from 0.5 to 60 s, and does not wait for the disk.
func NewZooKeeper(dir string, config ...string) (*ZooKeeper, error) {
	z := &ZooKeeper{dir: dir, config: config}
	for _, addr := range []*string{&z.Addr, &z.Secure} {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		*addr = fmt.Sprintf("127.0.0.1:%d", port)
	}
	return z, nil
}

// Config is the content of zoo.cfg.
func (z *ZooKeeper) Config() string {
	lines := []string{
		"dataDir=" + z.data(),
		"clientPort=" + portOf(z.Addr),
		"clientPortAddress=127.0.0.1",
		"tickTime=250",
		"minSessionTimeout=500",
		"maxSessionTimeout=60000",
		"maxClientCnxns=0",
		"admin.enableServer=false",
		"4lw.commands.whitelist=*",
	}
	isKeyStore := func(line string) bool { return strings.HasPrefix(line, "ssl.keyStore.location=") }
	if slices.ContainsFunc(z.config, isKeyStore) {
		lines = append(lines,
			"secureClientPort="+portOf(z.Secure),
			"secureClientPortAddress=127.0.0.1",
			"serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
		)
	}
	return strings.Join(append(lines, z.config...), "\n") + "\n"
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func (z *ZooKeeper) data() string { return filepath.Join(z.dir, "data") }
func (z *ZooKeeper) log() string  { return filepath.Join(z.dir, "zookeeper.log") }

// Start starts it and returns when it answers.
func (z *ZooKeeper) Start() error {
	if err := z.launch(); err != nil {
		return fmt.Errorf("start ZooKeeper: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := z.process.ready(ctx, z.answers); err != nil {
		z.Kill()
		log, _ := os.ReadFile(z.log())
		return fmt.Errorf("start ZooKeeper at %s: %w\n%s", z.Addr, err, log[max(0, len(log)-4000):])
	}
	return nil
}

// answers says whether it serves: a server of an ensemble does not while there is no leader.
func (z *ZooKeeper) answers() error {
	said, err := z.Command("srvr")
	if err == nil && !strings.Contains(said, "Mode: ") {
		err = fmt.Errorf("it says %q", said)
	}
	return err
}

func (z *ZooKeeper) launch() error {
	if err := os.MkdirAll(z.data(), 0o755); err != nil {
		return err
	}
	config := filepath.Join(z.dir, "zoo.cfg")
	if err := os.WriteFile(config, []byte(z.Config()), 0o644); err != nil {
		return err
	}
	main := "org.apache.zookeeper.server.ZooKeeperServerMain"
	if z.id > 0 {
		main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
		if err := os.WriteFile(filepath.Join(z.data(), "myid"), []byte(strconv.Itoa(z.id)), 0o644); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(z.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=1024", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", jars, main, config)
	cmd.Stdout, cmd.Stderr = log, log
	z.process, err = start(cmd)
	return err
}

// Stop ends it as an operator does. Its connections are closed.
func (z *ZooKeeper) Stop() { z.end(syscall.SIGTERM) }

// Kill ends it as a power failure does, as far as the process is concerned.
func (z *ZooKeeper) Kill() { z.end(syscall.SIGKILL) }

func (z *ZooKeeper) end(s syscall.Signal) {
	if z.process != nil {
		z.process.stop(s)
		z.process = nil
	}
}

// Pause stops its process without closing its connections, and returns when the last of its threads has stopped; Resume lets it go on.
func (z *ZooKeeper) Pause() error { return z.process.pause() }

// Resume lets a paused server go on.
func (z *ZooKeeper) Resume() error { return z.process.cmd.Process.Signal(syscall.SIGCONT) }

// Wipe deletes everything that a stopped server knows.
func (z *ZooKeeper) Wipe() error { return os.RemoveAll(z.data()) }

// Save copies what a stopped server knows to a directory that does not exist; Restore brings it back.
func (z *ZooKeeper) Save(dir string) error { return os.CopyFS(dir, os.DirFS(z.data())) }

// Restore replaces what a stopped server knows by what was saved.
func (z *ZooKeeper) Restore(dir string) error {
	if err := z.Wipe(); err != nil {
		return err
	}
	return os.CopyFS(z.data(), os.DirFS(dir))
}

// Command asks one of the commands of four letters: srvr, wchs, cons, dump.
func (z *ZooKeeper) Command(word string) (string, error) {
	conn, err := net.DialTimeout("tcp", z.Addr, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	said, err := io.ReadAll(conn)
	return string(said), err
}
