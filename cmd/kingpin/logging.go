package main

import (
	"io"
	"log/slog"
	"os"
)

// newLogger makes the log of a monitor: on stderr, one line a change of state, never contents.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err == nil {
		o.Level = l
	}
	if format == "auto" {
		format = "logfmt"
		if terminal(w) {
			format = "text"
		}
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, o))
	case "text":
		o.ReplaceAttr = shortTime
	case "logfmt":
		if os.Getenv("JOURNAL_STREAM") != "" {
			o.ReplaceAttr = noTime // the journal has its own
		}
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(a.Key, a.Value.Time().Format("15:04:05.000"))
	}
	return a
}

func noTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
