package contents

import "strings"

// escapePath percent-encodes a path for a URL as Python's quote does: letters, digits, "_.-~" and slashes stay.
func escapePath(s string) string { return escape(s, "_.-~/") }

// escapeValue is for a header's ext-value (RFC 8187): nothing that could end it stays.
func escapeValue(s string) string { return escape(s, "_.-~") }

func escape(s, keep string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
