package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxConfFile bounds one configuration file, in bytes.
const maxConfFile = 1 << 20

// confLine is one key = value of a configuration file.
type confLine struct {
	file    string
	line    int
	section string // the words in brackets above it; empty at the top
	key     string
	value   string
}

func (l confLine) place() string { return fmt.Sprintf("%s:%d", l.file, l.line) }

// readConf reads the file at path, then every *.conf in path.d, in the order of their names. A main file that is not there is fine
// unless somebody asked for it.
func readConf(path string, asked bool) ([]confLine, error) {
	files := []string{path}
	more, err := filepath.Glob(path + ".d/*.conf")
	if err != nil {
		return nil, fmt.Errorf("%s.d: %w", path, err)
	}
	slices.Sort(more)
	var lines []confLine
	for i, name := range append(files, more...) {
		found, err := readConfFile(name)
		if i == 0 && !asked && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		lines = append(lines, found...)
	}
	return lines, nil
}

func readConfFile(name string) ([]confLine, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseConf(name, io.LimitReader(f, maxConfFile))
}

// parseConf reads the dialect of systemd's files: key = value, # and ; for comments, also behind a value after a blank, and
// sections in brackets.
func parseConf(name string, r io.Reader) ([]confLine, error) {
	var lines []confLine
	section := ""
	scanner := bufio.NewScanner(r)
	for number := 1; scanner.Scan(); number++ {
		l := confLine{file: name, line: number, section: section}
		text := strings.TrimSpace(uncomment(scanner.Text()))
		if text == "" {
			continue
		}
		if inner, ok := strings.CutPrefix(text, "["); ok {
			inner, closed := strings.CutSuffix(inner, "]")
			words := strings.Fields(inner)
			if !closed || len(words) == 0 {
				return nil, fmt.Errorf("%s: %q is no section, write [WORD PATTERN]", l.place(), text)
			}
			section = strings.Join(words, " ")
			lines = append(lines, confLine{file: name, line: number, section: section})
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%s: %q is neither key = value nor a section", l.place(), text)
		}
		l.key, l.value = strings.TrimSpace(key), strings.TrimSpace(value)
		lines = append(lines, l)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return lines, nil
}

// uncomment cuts a comment off: a line that starts with # or ;, or # after a blank.
func uncomment(line string) string {
	if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
		return ""
	}
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && (line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}
