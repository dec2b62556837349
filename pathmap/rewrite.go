package pathmap

import (
	"bytes"
	"slices"
)

// Direction says which way a message goes.
type Direction int

// The directions.
const (
	ToNode Direction = iota // host paths become node paths
	ToHost                  // node paths become host paths
)

// Rewrite appends msg, one JSON value, to dst with every path in it mapped and
// reports how many it changed; no other byte changes. If none does, or msg is
// malformed or nests deeper than 512, it returns msg itself and 0, appends
// nothing and allocates nothing, save for paths that are unclean, on a drive or
// over 256 bytes. dst and msg must not overlap.
//
// A path is what the Debug Adapter Protocol has in a Source: the member "path"
// of an object that is the member "source" or "location" of another, or in the
// array "sources". What an adapter hides in a Source's "adapterData" is not
// looked at.
func (m *Map) Rewrite(dst, msg []byte, dir Direction) (out []byte, changed int) {
	return m.rewrite(dst, msg, dir, plain)
}

func (m *Map) rewrite(dst, msg []byte, dir Direction, r role) (out []byte, changed int) {
	if m == nil || len(m.rules) == 0 {
		return msg, 0
	}
	w := m.walker(dst, msg, dir)
	if !w.message(r) {
		return msg, 0
	}
	return w.result()
}

// role is what a value is to the reader of a message.
type role uint8

const (
	plain    role = iota
	source        // if an object, a Source
	sources       // if an array, one of Sources
	pathname      // if a string, a path
	opaque        // of no interest, nor what is in it

	// Of Delve's JSON-RPC.
	rpcMessage  // the message itself
	rpcValue    // if an object or array, one of Delve's
	rpcLocation // if a string, a location expression; else as rpcValue
	pathnames   // if an array, one of paths
)

// walker goes over a message once. Its methods return the offset behind what
// they are named after, or -1 if that is malformed.
type walker struct {
	msg   []byte
	table table

	dst     []byte // msg[:copied], rewritten
	copied  int
	changed int

	each MemberFunc // may be nil
	err  error      // each's

	decoded, mapped [256]byte // scratch, so that only longer paths allocate
}

// walker returns a walker for msg.
func (m *Map) walker(dst, msg []byte, dir Direction) walker {
	w := walker{msg: msg, dst: dst}
	switch {
	case m == nil:
	case dir == ToHost:
		w.table = m.toHost
	default:
		w.table = m.toNode
	}
	return w
}

// message goes over the message and reports whether it is well formed.
func (w *walker) message(r role) bool {
	end := w.value(0, r, 0)
	return end >= 0 && skipSpace(w.msg, end) == len(w.msg)
}

// result returns what [Map.Rewrite] does.
func (w *walker) result() (out []byte, changed int) {
	if w.changed == 0 {
		return w.msg, 0
	}
	return append(w.dst, w.msg[w.copied:]...), w.changed
}

func (w *walker) value(i int, r role, depth int) int {
	i = skipSpace(w.msg, i)
	if i >= len(w.msg) {
		return -1
	}
	switch w.msg[i] {
	case '"':
		end, escaped := stringEnd(w.msg, i+1)
		if end < 0 {
			return -1
		}
		switch r {
		case pathname:
			w.path(i+1, end, escaped)
		case rpcLocation:
			w.location(i+1, end, escaped)
		}
		return end + 1
	case '{':
		return w.object(i+1, r, depth+1)
	case '[':
		return w.array(i+1, r, depth+1)
	case 't':
		return literalEnd(w.msg, i, "true")
	case 'f':
		return literalEnd(w.msg, i, "false")
	case 'n':
		return literalEnd(w.msg, i, "null")
	}
	return numberEnd(w.msg, i)
}

func (w *walker) object(i int, r role, depth int) int {
	if depth > maxDepth {
		return -1
	}
	if i = skipSpace(w.msg, i); i < len(w.msg) && w.msg[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(w.msg) || w.msg[i] != '"' {
			return -1
		}
		end, escaped := stringEnd(w.msg, i+1)
		if end < 0 {
			return -1
		}
		key := w.msg[i+1 : end]
		member := w.memberRole(r, key, escaped)
		if i = skipSpace(w.msg, end+1); i >= len(w.msg) || w.msg[i] != ':' {
			return -1
		}
		start := skipSpace(w.msg, i+1)
		if i = w.value(start, member, depth); i < 0 || r == rpcMessage && !w.tell(key, escaped, start, i) {
			return -1
		}
		i = skipSpace(w.msg, i)
		switch {
		case i >= len(w.msg):
			return -1
		case w.msg[i] == '}':
			return i + 1
		case w.msg[i] != ',':
			return -1
		}
		i = skipSpace(w.msg, i+1)
	}
}

func (w *walker) array(i int, r role, depth int) int {
	if depth > maxDepth {
		return -1
	}
	if i = skipSpace(w.msg, i); i < len(w.msg) && w.msg[i] == ']' {
		return i + 1
	}
	element := elementRole(r)
	for {
		if i = w.value(i, element, depth); i < 0 {
			return -1
		}
		i = skipSpace(w.msg, i)
		switch {
		case i >= len(w.msg):
			return -1
		case w.msg[i] == ']':
			return i + 1
		case w.msg[i] != ',':
			return -1
		}
		i++
	}
}

func elementRole(r role) role {
	switch r {
	case sources:
		return source
	case pathnames:
		return pathname
	case opaque, rpcValue:
		return r
	}
	return plain
}

// memberRole returns the role of the member key of an object with role r.
func (w *walker) memberRole(r role, key []byte, escaped bool) role {
	if r == opaque {
		return opaque
	}
	if escaped {
		key, _ = unescape(w.decoded[:0], key)
	}
	switch r {
	case rpcMessage:
		return rpcMessageRole(key)
	case rpcValue, rpcLocation:
		return rpcMemberRole(key)
	}
	switch string(key) {
	case "source", "location":
		return source
	case "sources":
		return sources
	case "path":
		if r == source {
			return pathname
		}
	case "adapterData":
		if r == source {
			return opaque
		}
	}
	return plain
}

// path replaces the string at msg[start:end] if the table has it.
func (w *walker) path(start, end int, escaped bool) {
	if p, ok := w.text(start, end, escaped); ok {
		w.replace(start, end, p, len(p))
	}
}

// text returns the string at msg[start:end].
func (w *walker) text(start, end int, escaped bool) ([]byte, bool) {
	if escaped {
		return unescape(w.decoded[:0], w.msg[start:end])
	}
	return w.msg[start:end], true
}

// replace puts the counterpart of p[:length] in the place of that part of p, the
// string at msg[start:end], if the table has it.
func (w *walker) replace(start, end int, p []byte, length int) {
	mapped, ok := w.table.translate(w.mapped[:0], p[:length])
	if !ok || bytes.Equal(mapped, p[:length]) {
		return
	}
	mapped = append(mapped, p[length:]...)
	if w.changed == 0 {
		w.dst = slices.Grow(w.dst, len(w.msg)+len(w.msg)/16)
	}
	w.dst = append(w.dst, w.msg[w.copied:start]...)
	w.dst = appendEscaped(w.dst, mapped)
	w.copied = end
	w.changed++
}
