package pathmap

import "bytes"

// This file maps paths in text that is meant to be read by the user: the output of
// Delve's own commands, stack traces, reasons for a stop. A path is recognised only as a
// whole: it starts a word, ends like the name of a Go or assembly file, and is followed
// by a line number, white space or punctuation. If such text shows one of the target's
// values, a path in that is mapped too.

// maxPath is Linux's PATH_MAX; it bounds the cost of one path.
const maxPath = 4096

// mapProse maps the paths in the string msg[start:end].
func (w *walker) mapProse(start, end int) {
	text := w.msg[start:end]
	for from, at := 0, 0; ; {
		n := findFileEnd(text[at:])
		if n < 0 {
			return
		}
		at += n
		if !endsPath(text[at:]) {
			continue
		}
		if w.lastDir.isNextLine(text[from:at]) {
			w.replaceDir(start + from + len(`\n`))
			from = at
			continue
		}
		word, absolute := findStarts(text, from, at)
		if absolute < 0 || !w.mapProseFile(start+absolute, start+at) {
			if word >= 0 && word != absolute {
				w.mapProseFile(start+word, start+at)
			}
		}
		from = at
	}
}

// mapProseFile maps the path msg[start:end] and reports whether a rule covers it.
func (w *walker) mapProseFile(start, end int) bool {
	escaped := bytes.IndexByte(w.msg[start:end], '\\') >= 0
	p, ok := w.decode(start, end, escaped)
	if !ok || len(p) > maxPath {
		return false
	}
	if !escaped {
		if covered, ok := w.mapInDir(start, end); ok {
			return covered
		}
	}
	mapped, ok := w.table.translate(w.mapped[:0], p)
	if ok && !bytes.Equal(mapped, p) {
		w.replace(start, end, mapped)
	}
	return ok
}

// findFileEnd returns the offset after the first ".go" or ".s" in b, or -1.
func findFileEnd(b []byte) int {
	for i := 0; ; {
		dot := bytes.IndexByte(b[i:], '.')
		if dot < 0 {
			return -1
		}
		i += dot + 1
		switch rest := b[i:]; {
		case bytes.HasPrefix(rest, []byte("go")):
			return i + 2
		case bytes.HasPrefix(rest, []byte("s")):
			return i + 1
		}
	}
}

// endsPath reports whether rest, raw JSON, may follow a path.
func endsPath(rest []byte) bool {
	if len(rest) == 0 {
		return true
	}
	switch c := rest[0]; c {
	case '.': // the end of a sentence
		return len(rest) == 1 || rest[1] == ' ' || rest[1] == '\\' && isBreak(rest[2])
	case '\\':
		return isBreak(rest[1])
	default:
		return bytes.IndexByte([]byte(" :,;!?)]}>'`|"), c) >= 0
	}
}

// findStarts returns where the path that ends at end may start, at or after from: at the
// last word, and at the last word that starts with a slash, for a path with spaces. Each
// is -1 if there is none.
func findStarts(text []byte, from, end int) (word, absolute int) {
	word = -1
	first := max(from, end-maxPath)
	for i := end - 2; i >= max(first-2, 0); i-- {
		if !endsWord(text[i]) {
			continue
		}
		begin, alone := wordAfter(text, i)
		if begin < first || begin >= end {
			continue
		}
		if word < 0 {
			word = begin
		}
		switch {
		case text[begin] == '/':
			return word, begin
		case alone:
			return word, -1
		}
	}
	if first > 0 {
		return word, -1
	}
	if word < 0 {
		word = 0
	}
	if text[0] == '/' {
		return word, 0
	}
	return word, -1
}

// wordAfter returns the start of the word that follows the separator at text[i] (see
// endsWord), or -1 if no word starts there. It also reports whether no path can continue
// across the separator.
func wordAfter(text []byte, i int) (begin int, alone bool) {
	if text[i] != '\\' {
		return i + 1, text[i] == ' ' && i >= 1 && (text[i-1] == ',' || text[i-1] == ';' || text[i-1] == ':')
	}
	if i+1 == len(text) || !isBreak(text[i+1]) {
		return -1, false
	}
	backslashes := 1
	for i-backslashes >= 0 && text[i-backslashes] == '\\' {
		backslashes++
	}
	if backslashes%2 == 0 {
		return -1, false
	}
	return i + 2, true
}

// isWord reports whether no word starts within p.
func isWord(p []byte) bool {
	for _, c := range p {
		if endsWord(c) {
			return false
		}
	}
	return true
}

// endsWord reports whether c, in raw JSON, may separate words: one of the characters
// " ([{<=,;'`|", or the backslash of an escape.
func endsWord(c byte) bool {
	const (
		low  = 1<<' ' | 1<<'(' | 1<<'<' | 1<<'=' | 1<<',' | 1<<';' | 1<<'\''
		high = 1<<('['-64) | 1<<('{'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('\\'-64)
	)
	set := uint64(low)
	if c&64 != 0 {
		set = high
	}
	return c < 128 && set>>(c&63)&1 != 0
}

// isBreak reports whether a backslash and c escape a character that no path contains.
func isBreak(c byte) bool { return c == 'n' || c == 't' || c == 'r' || c == '"' }
