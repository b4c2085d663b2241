package registry


const hexDigits = "0123456789abcdef"

// appendJSONString writes s as Python 2's simplejson does: ASCII only, the short escapes, \u00e9 in lower case, two of them for
// what lies beyond the basic plane. Slashes and <, >, & stay as they are, DEL does not.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r < 0x10000:
			b = appendUnicodeEscape(b, r)
		default:
			b = appendUnicodeEscape(b, 0xd800+(r-0x10000)>>10)
			b = appendUnicodeEscape(b, 0xdc00+(r-0x10000)&0x3ff)
		}
	}
	return append(b, '"')
}

func appendUnicodeEscape(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

