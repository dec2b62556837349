package pathmap

import "bytes"

// fileURL appends the file URL of a path to dst (RFC 8089; Windows drives as in appendix
// E.2, servers as in E.3). A relative path has no URL and is appended as it is.
func fileURL(dst, path []byte) []byte {
	backslash := isWindows(path)
	switch {
	case !isAbsolute(path):
		return append(dst, path...)
	case path[0] == '\\':
		dst = append(dst, "file:"...) // the slashes are in the path
	case path[0] == '/':
		dst = append(dst, "file://"...)
	default:
		dst = append(dst, "file:///"...)
	}
	const hex = "0123456789ABCDEF"
	for _, c := range path {
		switch {
		case c == '\\' && backslash:
			dst = append(dst, '/')
		case isUnreserved(c) || c == '/':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// isUnreserved reports whether c means the same whether or not it is percent-encoded
// (RFC 3986, section 2.3).
func isUnreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' || c == '~'
}

// urlPath appends the path of a file URL to dst. It reports false if url is not a file
// URL, or its path cannot be that of a file.
func urlPath(dst, url []byte) ([]byte, bool) {
	const scheme = "file:"
	if len(url) < len(scheme) || !bytes.EqualFold(url[:len(scheme)], []byte(scheme)) {
		return dst, false
	}
	start := len(dst)
	rest := url[len(scheme):]
	if authority, ok := bytes.CutPrefix(rest, []byte("//")); ok {
		server := authority
		if slash := bytes.IndexByte(authority, '/'); slash >= 0 {
			server = authority[:slash]
		}
		if rest = authority; len(server) > 0 && !bytes.EqualFold(server, []byte("localhost")) {
			dst = append(dst, `\\`...)
		} else {
			rest = authority[len(server):]
		}
	}
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		switch {
		case c == '?' || c == '#':
			return dst[:start], false
		case c == '%':
			high, okHigh := hexDigit(rest, i+1)
			low, okLow := hexDigit(rest, i+2)
			if c = high<<4 | low; !okHigh || !okLow || c == 0 {
				return dst[:start], false
			}
			i += 2
		}
		dst = append(dst, c)
	}
	p := dst[start:]
	if isWindows(p) { // on a server
		for i, c := range p {
			if c == '/' {
				p[i] = '\\'
			}
		}
	}
	if len(p) > 2 && p[0] == '/' && isWindows(p[1:]) {
		dst = append(dst[:start], p[1:]...)
	}
	return dst, isAbsolute(dst[start:])
}

func hexDigit(b []byte, i int) (byte, bool) {
	if i >= len(b) {
		return 0, false
	}
	switch c := b[i]; {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}
