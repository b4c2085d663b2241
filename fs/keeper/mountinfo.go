package keeper

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mountEntry is one line of /proc/self/mountinfo.
type mountEntry struct {
	id, parent     int
	minor          uint32
	fsType, source string
}

// mountsOn lists what is mounted on exactly point in this process's mount namespace, the topmost last.
func mountsOn(point string) ([]mountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	var stack []mountEntry
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, on, ok := parseMount(lines.Text())
		if ok && on == point {
			stack = append(stack, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	// The kernel lists mounts in the order they were made or moved; which one lies on which the parent says.
	for i := range stack {
		for j := i + 1; j < len(stack); j++ {
			if stack[i].parent == stack[j].id {
				stack[i], stack[j] = stack[j], stack[i]
			}
		}
	}
	return stack, nil
}

// parseMount reads "36 35 98:0 /root /point opts [optional...] - type source superopts" (proc(5)).
func parseMount(line string) (m mountEntry, point string, ok bool) {
	head, tail, found := strings.Cut(line, " - ")
	fields, after := strings.Fields(head), strings.Fields(tail)
	if !found || len(fields) < 6 || len(after) < 2 {
		return m, "", false
	}
	_, minor, _ := strings.Cut(fields[2], ":")
	number, err := strconv.ParseUint(minor, 10, 32)
	id, err1 := strconv.Atoi(fields[0])
	parent, err2 := strconv.Atoi(fields[1])
	if err := errors.Join(err, err1, err2); err != nil {
		return m, "", false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	return mountEntry{id: id, parent: parent, minor: uint32(number), fsType: after[0], source: unescape.Replace(after[1])},
		unescape.Replace(fields[4]), true
}
