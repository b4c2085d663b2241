package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxJSON bounds what ParseJSON reads, in bytes: four times the default limit of a body.
const maxJSON = 64 << 20

// ParseJSON reads one JSON value as Python's simplejson.loads does: nil, bool, string, []any, map[string]any, and json.Number with
// the digits as they were written, so that no number changes on its way through. NaN, Infinity and -Infinity, which Python writes,
// come as float64. Of a key that occurs twice the last value counts. A byte order mark is skipped; what is not UTF-8 is refused. One
// half of a surrogate pair (\ud83d alone) is kept as three bytes that are not valid UTF-8; FormatJSON writes it back.
func ParseJSON(data []byte) (any, error) {
	if len(data) > maxJSON {
		return nil, fmt.Errorf("JSON of %d bytes, at most %d: %w", len(data), maxJSON, ErrTooLarge)
	}
	p := jsonParser{text: string(bytes.TrimPrefix(data, []byte("\ufeff")))}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.blank(); p.at < len(p.text) {
		return nil, p.wrong("the end")
	}
	return v, nil
}

type jsonParser struct {
	text string
	at   int
}

func (p *jsonParser) wrong(wanted string) error {
	if p.at >= len(p.text) {
		return fmt.Errorf("JSON ends where %s should be: %w", wanted, ErrInvalid)
	}
	line := 1 + strings.Count(p.text[:p.at], "\n")
	column := p.at - strings.LastIndexByte(p.text[:p.at], '\n')
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return fmt.Errorf("JSON has %q where %s should be, line %d column %d: %w", r, wanted, line, column, ErrInvalid)
}

func (p *jsonParser) blank() {
	for p.at < len(p.text) && isJSONBlank(p.text[p.at]) {
		p.at++
	}
}

func isJSONBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// take skips c if it is next.
func (p *jsonParser) take(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

var jsonWords = []struct {
	word  string
	value any
}{
	{"null", nil}, {"true", true}, {"false", false},
	{"NaN", math.NaN()}, {"Infinity", math.Inf(1)}, {"-Infinity", math.Inf(-1)},
}

func (p *jsonParser) value(depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("JSON nested deeper than %d: %w", maxJSONDepth, ErrInvalid)
	}
	p.blank()
	switch {
	case p.take('{'):
		return p.object(depth)
	case p.take('['):
		return p.array(depth)
	case p.take('"'):
		return p.string()
	}
	for _, w := range jsonWords {
		if strings.HasPrefix(p.text[p.at:], w.word) {
			p.at += len(w.word)
			return w.value, nil
		}
	}
	length, ok := jsonNumberLength(p.text[p.at:])
	if !ok {
		return nil, p.wrong("a value")
	}
	number := json.Number(strings.Clone(p.text[p.at : p.at+length]))
	p.at += length
	return number, nil
}

func (p *jsonParser) object(depth int) (any, error) {
	o := map[string]any{}
	if p.blank(); p.take('}') {
		return o, nil
	}
	for {
		if p.blank(); !p.take('"') {
			return nil, p.wrong("a key in quotes")
		}
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if p.blank(); !p.take(':') {
			return nil, p.wrong("a colon")
		}
		if o[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		if p.blank(); p.take('}') {
			return o, nil
		}
		if !p.take(',') {
			return nil, p.wrong("a comma or }")
		}
	}
}

func (p *jsonParser) array(depth int) (any, error) {
	a := []any{}
	if p.blank(); p.take(']') {
		return a, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		if p.blank(); p.take(']') {
			return a, nil
		}
		if !p.take(',') {
			return nil, p.wrong("a comma or ]")
		}
	}
}

// string reads on from behind the opening quote.
func (p *jsonParser) string() (string, error) {
	start := p.at
	for p.at < len(p.text) && p.text[p.at] != '"' && p.text[p.at] != '\\' && p.text[p.at] >= ' ' && p.text[p.at] < utf8.RuneSelf {
		p.at++
	}
	s := []byte(p.text[start:p.at])
	for {
		switch {
		case p.at >= len(p.text):
			return "", p.wrong("a closing quote")
		case p.take('"'):
			return string(s), nil
		case p.take('\\'):
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			s = appendWideRune(s, r)
		case p.text[p.at] < ' ':
			return "", p.wrong("an escape such as \\n")
		default:
			r, size := utf8.DecodeRuneInString(p.text[p.at:])
			if r == utf8.RuneError && size == 1 {
				return "", p.wrong("UTF-8")
			}
			s = append(s, p.text[p.at:p.at+size]...)
			p.at += size
		}
	}
}

// escape reads on from behind the backslash; \ud83d\ude00 is one rune.
func (p *jsonParser) escape() (rune, error) {
	if p.at < len(p.text) {
		if i := strings.IndexByte(`"\/bfnrt`, p.text[p.at]); i >= 0 {
			p.at++
			return rune("\"\\/\b\f\n\r\t"[i]), nil
		}
	}
	high, ok := p.unicodeEscape()
	if !ok {
		return 0, p.wrong("an escape such as \\n or \\u2603")
	}
	if !utf16.IsSurrogate(high) || !strings.HasPrefix(p.text[p.at:], `\u`) {
		return high, nil
	}
	after := p.at
	p.at++
	if low, ok := p.unicodeEscape(); ok {
		if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
			return r, nil
		}
	}
	p.at = after
	return high, nil
}

func (p *jsonParser) unicodeEscape() (rune, bool) {
	if len(p.text)-p.at < 5 || p.text[p.at] != 'u' || !isHex(p.text[p.at+1:p.at+5]) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[p.at+1:p.at+5], 16, 16)
	p.at += 5
	return rune(n), err == nil
}

// appendWideRune appends r in UTF-8, or in what would be UTF-8 if it is one half of a surrogate pair: see decodeSurrogate.
func appendWideRune(s []byte, r rune) []byte {
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(s, r)
	}
	return append(s, 0xed, 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f))
}

// jsonNumberLength is the length of the number that s starts with.
func jsonNumberLength(s string) (length int, ok bool) {
	digits := func(i int) int {
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i
	}
	whole := 0
	if strings.HasPrefix(s, "-") {
		whole = 1
	}
	end := digits(whole)
	if end == whole {
		return 0, false
	}
	if s[whole] == '0' {
		end = whole + 1
	}
	if end < len(s) && s[end] == '.' {
		if fraction := digits(end + 1); fraction > end+1 {
			end = fraction
		}
	}
	if end < len(s) && (s[end] == 'e' || s[end] == 'E') {
		start := end + 1
		if start < len(s) && (s[start] == '+' || s[start] == '-') {
			start++
		}
		if exponent := digits(start); exponent > start {
			end = exponent
		}
	}
	return end, true
}
