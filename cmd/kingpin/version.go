package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// version is set by the release build: -ldflags '-X main.version=0.1.0'.
var version = "0.1.0-dev"

// build is what kingpin version says.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"` // empty when it was not built in a repository
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (b build) String() string {
	s := fmt.Sprintf("kingpin %s", b.Version)
	if b.Commit != "" {
		s += fmt.Sprintf(" (%.12s", b.Commit)
		if b.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return s + " " + b.Go + " " + b.Platform
}

func runVersion(_ context.Context, inv *invocation) error {
	b := thisBuild()
	return inv.emit(output{
		json:  b,
		names: []string{b.Version},
		table: func(w io.Writer) { fmt.Fprintln(w, b) },
	})
}
