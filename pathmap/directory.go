package pathmap

import "bytes"

// dirMapping is how the files directly in one directory are mapped. A message often
// names many files of one directory in a row; with the last directory's mapping kept,
// most files cost only a comparison. The zero value applies to no file.
type dirMapping struct {
	dir      []byte // with its slash, as in the message
	from, to int    // its counterpart is text[from:to] of the edits
	changes  bool   // the counterpart differs
	isMapped bool   // a rule covers the directory
	isWord   bool   // in text, no word begins within dir
}

// mapInDir maps the path msg[start:end], which has no escapes, by replacing its
// directory, and reports whether a rule covers it. If that is not possible, it changes
// nothing and ok is false.
func (w *walker) mapInDir(start, end int) (covered, ok bool) {
	p := w.msg[start:end]
	if !w.lastDir.holds(p) && !w.learnDir(p) {
		return false, false
	}
	w.replaceDir(start)
	return w.lastDir.isMapped, true
}

// replaceDir adds the edit that replaces the last directory, found at msg[start:].
func (w *walker) replaceDir(start int) {
	if d := &w.lastDir; d.changes {
		w.edits.addText(start, start+len(d.dir), d.from, d.to)
	}
}

// base returns the name of the file p below the directory, or nil if p is elsewhere.
func (d *dirMapping) base(p []byte) []byte {
	n := len(d.dir)
	if n == 0 || len(p) <= n || string(p[:n]) != string(d.dir) {
		return nil
	}
	return p[n:]
}

// holds reports whether p is a file directly in the directory.
func (d *dirMapping) holds(p []byte) bool { return isFileName(d.base(p)) }

// isNextLine reports whether text, the part of a string from the end of the last
// path to that of the next, is a line break and a file of the directory: one more
// line of a list of files.
func (d *dirMapping) isNextLine(text []byte) bool {
	const lineBreak = len(`\n`)
	if !d.isWord || len(text) <= lineBreak || text[0] != '\\' || !isBreak(text[1]) {
		return false
	}
	base := d.base(text[lineBreak:])
	for _, c := range base {
		if c == '/' || c == '@' || endsWord(c) {
			return false
		}
	}
	return len(base) > 0 && base[0] != '.'
}

// isFileName reports whether base names a file in a directory and nothing else: an
// @ might begin the version of another module.
func isFileName(base []byte) bool {
	for _, c := range base {
		if c == '/' || c == '@' {
			return false
		}
	}
	return len(base) > 0 && base[0] != '.'
}

// learnDir makes the directory of p the last one. It reports false, and changes
// nothing, unless all files in it are mapped alike, however their paths are spelled.
func (w *walker) learnDir(p []byte) bool {
	cut := bytes.LastIndexByte(p, '/') + 1
	if cut <= 1 || !isFileName(p[cut:]) || isWindows(p) || !isClean(p) {
		return false
	}
	dir, base := p[:cut], p[cut:]
	if w.table.names != nil || w.table.real != nil || w.table.parents[string(dir)] {
		return false
	}
	w.lastDir = dirMapping{dir: dir, isWord: isWord(dir)}
	e, rest := w.table.lookup(p)
	if e == nil {
		return true
	}
	w.lastDir.isMapped = true
	mapped := e.appendPath(w.mapped[:0], rest)
	if mapped = mapped[:len(mapped)-len(base)]; !bytes.Equal(mapped, dir) {
		w.lastDir.changes, w.lastDir.from = true, len(w.edits.text)
		w.edits.text = appendEscaped(w.edits.text, mapped)
		w.lastDir.to = len(w.edits.text)
	}
	return true
}
