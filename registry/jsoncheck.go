package registry

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// JSONCheck follows JSON as it is being written, piece by piece, and says at the first byte that no continuation can make good. It
// remembers a byte for each level of nesting and little else, so that a body of any size may pass through. It accepts what
// ParseJSON accepts, but for the byte order mark. The zero JSONCheck is ready to use.
type JSONCheck struct {
	state   jsonState
	levels  []byte // { or [ for each value that is open
	key     bool   // the string being read is a key
	word    string // what is missing of a word such as true
	digits  int    // what is missing of \u2603
	partial []byte // what is there of a rune
	offset  int64
	err     error
}

type jsonState uint8

const (
	jsonValue     jsonState = iota // a value is next
	jsonFirst                      // a value or ]
	jsonNextKey                    // a key is next
	jsonFirstKey                   // a key or }
	jsonColon                      // the colon behind a key
	jsonAfter                      // a comma or a closing bracket, at the top level only blanks
	jsonString                     // inside a string
	jsonEscape                     // behind its backslash
	jsonHex                        // in the digits of \u2603
	jsonRune                       // inside a rune of several bytes
	jsonWord                       // inside true, NaN and so on
	jsonMinus                      // behind the sign of a number
	jsonZero                       // behind its leading zero
	jsonDigits                     // in the digits before the point
	jsonPoint                      // behind the point
	jsonFraction                   // in the digits behind it
	jsonExponent                   // behind the e
	jsonSign                       // behind the sign of the exponent
	jsonExponents                  // in the digits of the exponent
)

// Write checks the next piece. Its error wraps ErrInvalid and names the byte; after one, every call returns it again.
func (c *JSONCheck) Write(p []byte) (int, error) {
	for i, b := range p {
		if c.err != nil {
			return i, c.err
		}
		if !c.step(b) {
			c.err = fmt.Errorf("no JSON goes on with %q at byte %d: %w", b, c.offset, ErrInvalid)
			return i, c.err
		}
		c.offset++
	}
	return len(p), c.err
}

// Close says whether what was written is complete.
func (c *JSONCheck) Close() error {
	switch c.state {
	case jsonAfter, jsonZero, jsonDigits, jsonFraction, jsonExponents:
		if c.err == nil && len(c.levels) > 0 {
			return fmt.Errorf("JSON ends inside %c: %w", c.levels[len(c.levels)-1], ErrInvalid)
		}
		return c.err
	}
	if c.err != nil {
		return c.err
	}
	return fmt.Errorf("JSON ends too early, after %d bytes: %w", c.offset, ErrInvalid)
}

// Complete says that nothing but blanks can follow: an object, a list, a string or a word has ended. A number may go on.
func (c *JSONCheck) Complete() bool {
	return c.err == nil && c.state == jsonAfter && len(c.levels) == 0
}

// step says whether b may follow.
func (c *JSONCheck) step(b byte) bool {
	switch c.state {
	case jsonValue, jsonFirst, jsonNextKey, jsonFirstKey, jsonColon, jsonAfter:
		return isJSONBlank(b) || c.stepBetween(b)
	case jsonString, jsonEscape, jsonHex, jsonRune:
		return c.stepString(b)
	case jsonWord:
		if b != c.word[0] {
			return false
		}
		if c.word = c.word[1:]; c.word == "" {
			c.state = jsonAfter
		}
		return true
	}
	return c.stepNumber(b)
}

// stepBetween takes what stands between strings, words and numbers.
func (c *JSONCheck) stepBetween(b byte) bool {
	switch {
	case c.state == jsonColon:
		c.state = jsonValue
		return b == ':'
	case b == '"' && (c.state == jsonNextKey || c.state == jsonFirstKey):
		c.state, c.key = jsonString, true
		return true
	case b == '}' && c.state == jsonFirstKey, b == ']' && c.state == jsonFirst:
		return c.close(b)
	case c.state == jsonValue, c.state == jsonFirst:
		return c.startValue(b)
	case c.state != jsonAfter || len(c.levels) == 0:
		return false
	case b != ',':
		return c.close(b)
	}
	c.state = jsonValue
	if c.levels[len(c.levels)-1] == '{' {
		c.state = jsonNextKey
	}
	return true
}

func (c *JSONCheck) startValue(b byte) bool {
	if len(c.levels) > maxJSONDepth {
		return false
	}
	switch {
	case b == '{':
		c.levels, c.state = append(c.levels, b), jsonFirstKey
		return true
	case b == '[':
		c.levels, c.state = append(c.levels, b), jsonFirst
		return true
	case b == '"':
		c.state, c.key = jsonString, false
		return true
	case b == '-':
		c.state = jsonMinus
		return true
	case isDigit(b):
		return c.startNumber(b)
	}
	for _, w := range jsonWords {
		if w.word[0] == b { // no two words but -Infinity, which starts with its sign, begin alike
			c.word, c.state = w.word[1:], jsonWord
			return true
		}
	}
	return false
}

// close takes the bracket that ends the innermost value.
func (c *JSONCheck) close(b byte) bool {
	top := len(c.levels) - 1
	if c.levels[top] != b-2 { // { and }, [ and ] are two apart in ASCII
		return false
	}
	c.levels, c.state = c.levels[:top], jsonAfter
	return true
}

func (c *JSONCheck) stepString(b byte) bool {
	switch c.state {
	case jsonEscape:
		if b == 'u' {
			c.state, c.digits = jsonHex, 4
			return true
		}
		c.state = jsonString
		return strings.IndexByte(`"\/bfnrt`, b) >= 0
	case jsonHex:
		if c.digits--; c.digits == 0 {
			c.state = jsonString
		}
		return isHexDigit(b)
	case jsonRune:
		return c.stepRune(b)
	}
	switch {
	case b == '"' && c.key:
		c.state = jsonColon
	case b == '"':
		c.state = jsonAfter
	case b == '\\':
		c.state = jsonEscape
	case b >= utf8.RuneSelf:
		c.partial = c.partial[:0]
		return c.stepRune(b)
	}
	return b >= ' '
}

func (c *JSONCheck) stepRune(b byte) bool {
	c.state = jsonRune
	c.partial = append(c.partial, b)
	if !utf8.FullRune(c.partial) {
		return true
	}
	c.state = jsonString
	return utf8.Valid(c.partial)
}

func (c *JSONCheck) startNumber(b byte) bool {
	c.state = jsonDigits
	if b == '0' {
		c.state = jsonZero
	}
	return isDigit(b)
}

func (c *JSONCheck) stepNumber(b byte) bool {
	digit := isDigit(b)
	switch c.state {
	case jsonMinus:
		if b == 'I' {
			c.word, c.state = "nfinity", jsonWord
			return true
		}
		return c.startNumber(b)
	case jsonPoint:
		c.state = jsonFraction
		return digit
	case jsonExponent:
		if b == '+' || b == '-' {
			c.state = jsonSign
			return true
		}
		c.state = jsonExponents
		return digit
	case jsonSign:
		c.state = jsonExponents
		return digit
	}
	switch {
	case digit && c.state != jsonZero:
		return true
	case b == '.' && (c.state == jsonZero || c.state == jsonDigits):
		c.state = jsonPoint
		return true
	case (b == 'e' || b == 'E') && c.state != jsonExponents:
		c.state = jsonExponent
		return true
	}
	c.state = jsonAfter // the number is over, and b is what follows it
	return c.step(b)
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }
