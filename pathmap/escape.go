package pathmap

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescape appends the value of a well-formed JSON string's content to dst. It reports
// false if that is not valid text because of an unpaired surrogate.
func unescape(dst, s []byte) ([]byte, bool) {
	valid := true
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := unicodeEscape(s[i-1:])
			valid = valid && !utf16.IsSurrogate(r)
			dst = utf8.AppendRune(dst, r)
			i += n - 2
		default:
			dst = append(dst, c)
		}
	}
	return dst, valid
}

// unicodeEscape returns the character of the \u escape at the start of s, or of two for a
// surrogate pair, and their length. An unpaired surrogate is returned as it is.
func unicodeEscape(s []byte) (r rune, n int) {
	r, _ = hex4(s[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		low, _ := hex4(s[8:])
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}

// appendEscaped appends s as the content of a JSON string, with only the escapes that
// JSON requires.
func appendEscaped(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
