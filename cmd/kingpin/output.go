package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// output is the data of one answer in the three forms of --output. The form json is an interface: its keys stay.
type output struct {
	json  any
	names []string // one a line; each may be given to a verb as a NAME
	table func(io.Writer)
}

// emit prints an answer in the form that was asked for.
func (inv *invocation) emit(o output) error {
	switch inv.string("output") {
	case "json":
		e := json.NewEncoder(inv.stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(o.json)
	case "name":
		for _, name := range o.names {
			fmt.Fprintln(inv.stdout, name)
		}
	default:
		if o.table != nil {
			o.table(inv.stdout)
		}
	}
	return nil
}

// columns prints rows under a header, each column as wide as it needs. A header that starts with a space is aligned right.
func columns(w io.Writer, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	right := make([]bool, len(header))
	widths := make([]int, len(header))
	titles := make([]string, len(header))
	for i, h := range header {
		titles[i] = strings.TrimPrefix(h, " ")
		right[i] = titles[i] != h
		widths[i] = utf8.RuneCountInString(titles[i])
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range append([][]string{titles}, rows...) {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			line.WriteString(cell + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// facts prints keys and values in two columns, leaving out what is empty.
func facts(w io.Writer, pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		width = max(width, len(pairs[i]))
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%-*s  %s\n", width, pairs[i], pairs[i+1])
		}
	}
}

// seconds is a duration as JSON says it, in milliseconds' precision.
func seconds(d time.Duration) float64 {
	return math.Round(d.Seconds()*1000) / 1000
}

// brief is a duration as people say it: 4s, 15m, 3h, 12d.
func brief(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// count says a number of things: 1 name, 2 names.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// some of many names, and how many more there are.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// terminal says whether a person is at the other end.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
