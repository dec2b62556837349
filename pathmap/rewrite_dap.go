package pathmap

import (
	"bytes"
	"strconv"
)

// roleInDAP returns the role of the member key in a DAP object with role r. A test walks
// the protocol's types and fails for a member that might hold a path, a line or a column
// and has not been classified.
func (w *walker) roleInDAP(r role, key []byte) role {
	switch string(key) {
	case "source", "location":
		return source
	case "sources":
		return sources
	case "module":
		return module
	case "modules":
		return modules
	case "targets":
		return targets
	case "line", "endLine":
		return line
	case "lines":
		return lines
	case "column", "endColumn":
		return column
	case "output", "message", "format", "description", "stackTrace", "text", "label", "detail":
		return prose
	case "result":
		return result
	}
	switch r {
	case source:
		return w.roleInSource(key)
	case module:
		if string(key) == "path" || string(key) == "symbolFilePath" {
			return pathname
		}
	case target:
		if string(key) == "start" {
			return column
		}
	}
	return plain
}

// sourcePlace collects what is known about a Source while it is scanned.
type sourcePlace struct {
	at           Place
	reference    bool // it has a sourceReference
	hint, origin bool
}

func (w *walker) roleInSource(key []byte) role {
	switch string(key) {
	case "path":
		w.place.at = Place{} // if there are several paths, the last one counts
		return sourceFile
	case "adapterData":
		return opaque
	case "sourceReference":
		w.place.reference = true
	case "presentationHint":
		w.place.hint = true
	case "origin":
		w.place.origin = true
	}
	return plain
}

// scanSource is scanObject for a Source, to which it adds a reference if the host lacks
// the file.
func (w *walker) scanSource(i, depth int) int {
	outer := w.place
	w.place = sourcePlace{}
	end := w.scanObject(i, source, depth)
	if p := w.place; end > 0 && p.at.Reference > 0 && !p.reference {
		from, text := len(w.edits.text), w.edits.text
		text = strconv.AppendInt(append(text, `,"sourceReference":`...), int64(p.at.Reference), 10)
		if !p.origin {
			text = append(text, `,"origin":"from the node"`...)
		}
		if !p.hint {
			text = append(text, `,"presentationHint":"normal"`...)
		}
		w.edits.text = text
		w.edits.add(end-1, end-1, from)
	}
	w.place = outer
	return end
}

// mapPath maps the path msg[start:end].
func (w *walker) mapPath(start, end int, escaped bool, r role) {
	if !escaped && w.mapPathInDir(start, end, r) {
		return
	}
	original, ok := w.decode(start, end, escaped)
	if !ok || len(original) == 0 || len(original) > maxPath {
		return
	}
	p := original
	if w.client.URI && w.dir == ToNode {
		if p, ok = urlPath(w.url[:0], original); !ok {
			p = original // let Delve report the error
		}
	}
	mapped, ok := w.table.translate(w.mapped[:0], p)
	if !ok {
		mapped = p
	}
	if w.missing != nil && p[0] != '<' {
		switch at := w.missing.findFor(r, mapped, p); {
		case at.Path != "":
			mapped = append(w.mapped[:0], at.Path...)
		case r == sourceFile:
			w.place.at = at
		}
	}
	if w.client.URI && w.dir == ToHost {
		mapped = fileURL(w.url[:0], mapped)
	}
	if !bytes.Equal(mapped, original) {
		w.replace(start, end, mapped)
	}
}

// mapPathInDir is mapPath for a path that mapInDir can map and for which it is known
// whether the host lacks the file. For others it does nothing and returns false.
func (w *walker) mapPathInDir(start, end int, r role) bool {
	p := w.msg[start:end]
	if w.client.URI || len(p) == 0 || len(p) > maxPath {
		return false
	}
	var at Place
	if w.missing != nil && p[0] != '<' && (r == sourceFile || r == rpcFile) {
		known := false
		if at, known = w.missing.recall(p); !known || at.Path != "" {
			return false
		}
	}
	if _, ok := w.mapInDir(start, end); !ok {
		return false
	}
	if r == sourceFile {
		w.place.at = at
	}
	return true
}

// shiftNumber converts the number msg[start:end] between a client that counts from 0 and
// Delve, which counts from 1. Delve's 0 means "unknown" and is not changed.
func (w *walker) shiftNumber(start, end int) {
	n, err := strconv.ParseInt(string(w.msg[start:max(start, end)]), 10, 32)
	switch {
	case err != nil || n < 0:
		return
	case w.dir == ToNode:
		n++
	case n == 0:
		return
	default:
		n--
	}
	w.replace(start, end, strconv.AppendInt(w.decoded[:0], n, 10))
}
