package pathmap

import "bytes"

// This file maps paths in text for people: the output of Delve's own commands,
// stacks, reasons. A path is recognised whole or not at all: it begins a word,
// ends as the name of a Go or assembly file does, and a line number, white space
// or punctuation is behind it. One that stands in the target's own values, which
// text may show too, can't be told from it.

// maxPath is Linux's PATH_MAX, and bounds what one path costs.
const maxPath = 4096

// prose maps the paths in the string at msg[start:end].
func (w *walker) prose(start, end int) {
	text := w.msg[start:end]
	for from, at := 0, 0; ; {
		n := fileEnd(text[at:])
		if n < 0 {
			return
		}
		at += n
		if !pathEndsAt(text[at:]) {
			continue
		}
		word, absolute := pathStarts(text, from, at)
		if absolute < 0 || !w.proseFile(start+absolute, start+at) {
			if word >= 0 && word != absolute {
				w.proseFile(start+word, start+at)
			}
		}
		from = at
	}
}

// proseFile replaces the path at msg[start:end] if the table has it.
func (w *walker) proseFile(start, end int) bool {
	p, ok := w.text(start, end, bytes.IndexByte(w.msg[start:end], '\\') >= 0)
	if !ok || len(p) > maxPath {
		return false
	}
	mapped, ok := w.table.translate(w.mapped[:0], p)
	if ok && !bytes.Equal(mapped, p) {
		w.splice(start, end, mapped)
	}
	return ok
}

// fileEnd returns the offset behind the first ".go" or ".s" in b, or -1.
func fileEnd(b []byte) int {
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

// pathEndsAt reports whether a path ends before rest, which is raw JSON.
func pathEndsAt(rest []byte) bool {
	if len(rest) == 0 {
		return true
	}
	switch c := rest[0]; c {
	case '.': // a sentence may end too
		return len(rest) == 1 || rest[1] == ' ' || rest[1] == '\\' && breaks(rest[2])
	case '\\':
		return breaks(rest[1])
	default:
		return bytes.IndexByte([]byte(" :,;!?)]}>'`|"), c) >= 0
	}
}

// pathStarts returns where the path that ends at end may begin, not before from:
// the last word, and the last one with a slash in front, which may have spaces
// in it. Each is -1 if there is none.
func pathStarts(text []byte, from, end int) (word, absolute int) {
	word = -1
	for i := end - 1; i >= max(from, end-maxPath); i-- {
		begins, alone := wordBegins(text, i)
		if !begins {
			continue
		}
		if word < 0 {
			word = i
		}
		switch {
		case text[i] == '/':
			return word, i
		case alone:
			return word, -1
		}
	}
	return word, -1
}

// breaks reports whether a backslash and c are the escape of a character that no
// path has.
func breaks(c byte) bool { return c == 'n' || c == 't' || c == 'r' || c == '"' }

// wordBegins reports whether a word begins at text[i], which is raw JSON, and if
// so whether none can go on from before it.
func wordBegins(text []byte, i int) (begins, alone bool) {
	if i == 0 {
		return true, true
	}
	switch text[i-1] {
	case ' ':
		return true, i >= 2 && (text[i-2] == ',' || text[i-2] == ';' || text[i-2] == ':')
	case '(', '[', '{', '<', '=', ',', ';', '\'', '`', '|':
		return true, false
	}
	if breaks(text[i-1]) {
		backslashes := 0
		for i-2-backslashes >= 0 && text[i-2-backslashes] == '\\' {
			backslashes++
		}
		return backslashes%2 == 1, true
	}
	return false, false
}
