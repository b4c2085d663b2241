package main

import (
	"bytes"
	"fmt"
	"strings"
)

// diffContext is how many equal lines stand around a change.
const diffContext = 3

// maxDiffCells bounds the work of a diff: lines of one side times lines of the other, without those equal at both ends.
const maxDiffCells = 4 << 20

// change is one line of a diff: kept (' '), taken away ('-') or added ('+').
type change struct {
	sign byte
	line string
}

// unified is the difference of two texts as diff -u shows it, or a sentence where lines would tell nothing. It is empty if
// they are equal.
func unified(from, to string, a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	if bytes.IndexByte(a, 0) >= 0 || bytes.IndexByte(b, 0) >= 0 {
		return fmt.Sprintf("binary: %s has %d bytes, %s has %d\n", from, len(a), to, len(b))
	}
	changes := compare(splitLines(string(a)), splitLines(string(b)))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	for _, h := range hunks(changes) {
		h.print(&out, changes)
	}
	return out.String()
}

// splitLines keeps the newline of each line; the last may have none.
func splitLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, line)
	}
	return lines
}

// compare aligns two lists of lines by their longest common subsequence. Where that is too much work it says that all between the
// equal ends was replaced.
func compare(a, b []string) []change {
	var head, tail []change
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, change{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, change{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	changes := append(head, align(a, b)...)
	for i := len(tail) - 1; i >= 0; i-- {
		changes = append(changes, tail[i])
	}
	return changes
}

func align(a, b []string) []change {
	var common [][]int32 // common[i][j]: length of the longest common subsequence of a[i:] and b[j:]
	if len(a)*len(b) <= maxDiffCells {
		common = make([][]int32, len(a)+1)
		for i := range common {
			common[i] = make([]int32, len(b)+1)
		}
		for i := len(a) - 1; i >= 0; i-- {
			for j := len(b) - 1; j >= 0; j-- {
				common[i][j] = max(common[i+1][j], common[i][j+1])
				if a[i] == b[j] {
					common[i][j] = common[i+1][j+1] + 1
				}
			}
		}
	}
	var changes []change
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && common != nil && a[i] == b[j]:
			changes = append(changes, change{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common == nil || common[i+1][j] >= common[i][j+1]):
			changes = append(changes, change{'-', a[i]})
			i++
		default:
			changes = append(changes, change{'+', b[j]})
			j++
		}
	}
	return changes
}

// hunk is a run of changes with its context: changes[from:to], which starts at a line of each side.
type hunk struct{ from, to, lineA, lineB int }

func hunks(changes []change) []hunk {
	var found []hunk
	lineA, lineB := make([]int, len(changes)+1), make([]int, len(changes)+1)
	for i, c := range changes {
		lineA[i+1], lineB[i+1] = lineA[i], lineB[i]
		if c.sign != '+' {
			lineA[i+1]++
		}
		if c.sign != '-' {
			lineB[i+1]++
		}
	}
	for i, c := range changes {
		if c.sign == ' ' {
			continue
		}
		from, to := max(0, i-diffContext), min(len(changes), i+1+diffContext)
		if n := len(found); n > 0 && from <= found[n-1].to {
			found[n-1].to = to
			continue
		}
		found = append(found, hunk{from, to, lineA[from], lineB[from]})
	}
	return found
}

func (h hunk) print(out *strings.Builder, changes []change) {
	countA, countB := 0, 0
	for _, c := range changes[h.from:h.to] {
		if c.sign != '+' {
			countA++
		}
		if c.sign != '-' {
			countB++
		}
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(h.lineA, countA), span(h.lineB, countB))
	for _, c := range changes[h.from:h.to] {
		out.WriteByte(c.sign)
		out.WriteString(c.line)
		if !strings.HasSuffix(c.line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// span is start,count as diff -u writes it: no count if it is one, the line before if there are none.
func span(before, count int) string {
	switch count {
	case 0:
		return fmt.Sprintf("%d,0", before)
	case 1:
		return fmt.Sprint(before + 1)
	}
	return fmt.Sprintf("%d,%d", before+1, count)
}
