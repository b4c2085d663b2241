package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func debugCommand() command {
	return command{
		name: "debug", brief: "collect what a report of a fault needs, and no config's content", run: runDebug, remote: true,
		args: []arg{{name: "FILE.tgz"}}, exits: []int{exitDone, exitFailed},
		long: `
FILE.tgz has the version, what kingpin doctor says, the files of MOUNT/.status, the command line of the server, its stacks, the mounts
of KingPin on this machine and the last of the journal. It holds names, authors and messages. What cannot be had, since the monitor is
dead or hangs, has the reason in its place. As root it has most.`,
	}
}

// evidence is one file of a report.
type evidence struct {
	name string
	look func() ([]byte, error)
}

// reported is what kingpin debug prints.
type reported struct {
	File    string   `json:"file"`
	Parts   []string `json:"parts"`
	Missing []string `json:"missing"` // of the parts: those that say only why they are not there
}

func runDebug(ctx context.Context, inv *invocation) error {
	done := reported{File: inv.word(0), Parts: []string{}, Missing: []string{}}
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	files := tar.NewWriter(zipped)
	top := strings.TrimSuffix(filepath.Base(done.File), ".tgz")
	for _, e := range inv.evidence(ctx) {
		data, err := inv.gather(ctx, e)
		if err != nil {
			data = []byte("not had: " + words(err) + "\n")
			done.Missing = append(done.Missing, e.name)
		}
		done.Parts = append(done.Parts, e.name)
		header := &tar.Header{Name: top + "/" + e.name, Mode: 0o600, Size: int64(len(data)), ModTime: time.Now()}
		if err := errors.Join(files.WriteHeader(header), writeTo(files, data)); err != nil {
			return err
		}
	}
	if err := errors.Join(files.Close(), zipped.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(done.File, archive.Bytes(), 0o600); err != nil {
		return errors.New(err.Error()) // its errno is no answer of the mount
	}
	inv.say("wrote %s, %d bytes; look at it before you show it to somebody: it holds names, authors and messages", done.File, archive.Len())
	for _, name := range done.Missing {
		inv.say("%s says why it is not there", name)
	}
	return inv.emit(output{json: done, names: []string{done.File}})
}

func writeTo(w *tar.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// gather looks, but no longer than a question may take.
func (inv *invocation) gather(ctx context.Context, e evidence) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, inv.duration("timeout"))
	defer cancel()
	found := make(chan []byte, 1)
	if err := await(ctx, e.name, func() error {
		data, err := e.look()
		found <- data
		return err
	}); err != nil {
		return nil, err
	}
	return <-found, nil
}

// evidence is all that may tell what is wrong.
func (inv *invocation) evidence(ctx context.Context) []evidence {
	x := inv.examine(ctx)
	all := []evidence{
		{"version.txt", func() ([]byte, error) { return fmt.Appendln(nil, thisBuild()), nil }},
		{"doctor.json", func() ([]byte, error) { x.look(); return indented(x.findings), nil }},
		{"mounts.txt", func() ([]byte, error) { return mountsOf(x.mount) }},
	}
	for _, topic := range []string{"monitor", "names", "serversets", "registrations", "publishes"} {
		all = append(all, evidence{topic + ".json", func() ([]byte, error) { return x.topic(ctx, topic) }})
	}
	return append(all,
		evidence{"stacks.txt", func() ([]byte, error) { return x.ask(ctx, "/v1/stacks") }},
		evidence{"server.txt", func() ([]byte, error) { return x.arguments(ctx) }},
		evidence{"journal.txt", func() ([]byte, error) {
			return exec.CommandContext(ctx, "journalctl", "--no-pager", "--unit", "kingpin", "--lines", "2000").Output()
		}},
	)
}

// topic is a file of .status, or the monitor's answer where there is no mount.
func (x *examination) topic(ctx context.Context, topic string) ([]byte, error) {
	if x.tree != nil && x.tree.served {
		return os.ReadFile(filepath.Join(x.tree.root, ".status", topic+".json"))
	}
	data, err := x.ask(ctx, "/v1/"+topic)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, data, "", "  ")
	return out.Bytes(), err
}

// ask asks the monitor, by its socket too if its mount does not answer.
func (x *examination) ask(ctx context.Context, question string) ([]byte, error) {
	control := newClient(filepath.Join(x.state, controlSocket))
	if x.tree != nil {
		control = x.tree.control
	}
	return control.send(ctx, "GET", question, nil)
}

// arguments is the command line of the server: all its settings.
func (x *examination) arguments(ctx context.Context) ([]byte, error) {
	if x.now.PID == 0 {
		data, err := x.ask(ctx, "/v1/monitor")
		if err == nil {
			err = json.Unmarshal(data, &x.now)
		}
		if err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(x.now.PID), "cmdline"))
	return bytes.ReplaceAll(data, []byte{0}, []byte{'\n'}), err
}

// mountsOf are the lines of the kernel about mounts of KingPin, and about whatever lies at the mount point.
func mountsOf(mount string) ([]byte, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []byte
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, "kingpin") || mount != "" && strings.Contains(line, " "+mount+" ") {
			found = append(found, line...)
		}
	}
	return found, nil
}

// maxStacks bounds what is told of the goroutines, in bytes.
const maxStacks = 8 << 20

// getStacks is what each goroutine of the server does.
func getStacks(*http.Request) (any, error) {
	data := make([]byte, maxStacks)
	return data[:runtime.Stack(data, true)], nil
}
