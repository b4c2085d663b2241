package registry

import (
	"fmt"
	"strings"
)

// shellWord is one word of a command line, its quotes taken off.
type shellWord struct {
	text     string
	operator bool // ; & | < > ( ) or a line's end, unquoted
	expands  bool // holds $ or `, so that its value is for a shell to say
}

// chains says whether the word ends one command and may begin another.
func (w shellWord) chains() bool {
	return w.operator && w.text != "<" && w.text != ">"
}

const shellOperators = ";&|<>()\n"

// splitWords cuts a command line into words as a POSIX shell does, as far as that can be done without running anything.
func splitWords(s string) ([]shellWord, error) {
	var words []shellWord
	var word shellWord
	started := false // an empty pair of quotes is a word too
	end := func() {
		if started {
			words = append(words, word)
		}
		word, started = shellWord{}, false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == ' ' || c == '\t':
			end()
		case strings.IndexByte(shellOperators, c) >= 0:
			redirects := c == '<' || c == '>'
			if redirects && strings.Trim(word.text, "0123456789") == "" {
				started = false // the 2 of 2>file
			}
			end()
			words = append(words, shellWord{text: string(c), operator: true})
			for redirects && i+1 < len(s) && strings.IndexByte("<>&|", s[i+1]) >= 0 {
				i++ // >> and >& and so on
			}
		case c == '\'' || c == '"':
			length, err := word.appendQuoted(s[i:])
			if err != nil {
				return nil, err
			}
			i += length - 1
			started = true
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] != '\n' {
				word.text += s[i : i+1]
				started = true
			}
		default:
			word.expands = word.expands || c == '$' || c == '`'
			word.text += s[i : i+1]
			started = true
		}
	}
	end()
	return words, nil
}

// appendQuoted reads the quoted part that s starts with and returns its length, quotes included.
func (w *shellWord) appendQuoted(s string) (length int, err error) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == quote:
			return i + 1, nil
		case quote == '"' && c == '\\' && i+1 < len(s) && strings.IndexByte("\\\"$`\n", s[i+1]) >= 0:
			i++
			if s[i] != '\n' {
				w.text += s[i : i+1]
			}
		default:
			w.expands = w.expands || quote == '"' && (c == '$' || c == '`')
			w.text += s[i : i+1]
		}
	}
	return 0, fmt.Errorf("command ends inside %c quotes: %w", quote, ErrInvalid)
}

// quoteWord is the spelling of a word that splitWords, and a shell, read back as s.
func quoteWord(s string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (isWordByte(byte(r)) || strings.ContainsRune("/.:,+@%", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
