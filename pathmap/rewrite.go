package pathmap

// Direction is the direction of a message.
type Direction int

// The directions.
const (
	ToNode Direction = iota // host paths become node paths
	ToHost                  // node paths become host paths
)

// Rewrite appends msg, one JSON value, to dst with its paths mapped, and returns how
// many changed; no other byte changes. If none changes, or msg is malformed or nests
// deeper than 512, Rewrite returns msg itself and 0. In that case it allocates nothing,
// except for paths that are not clean, are Windows paths or are longer than 256 bytes.
// dst and msg must not overlap.
//
// Paths are those of the Debug Adapter Protocol: the member "path" of a Source, which is
// a member "source" or "location" or an element of "sources", and those of a Module. In
// the direction ToHost, paths of source files in text for the user are mapped too
// (prose.go). A Source's "adapterData" is not changed. Paths longer than 4,096 bytes are
// not mapped.
func (m *Map) Rewrite(dst, msg []byte, dir Direction) (out []byte, changed int) {
	return (&Rewriter{Map: m}).rewrite(dst, msg, dir, plain, false)
}

// role is the meaning of a value in a message.
type role uint8

const (
	plain    role = iota
	source        // if an object, a Source
	sources       // if an array, of Sources
	pathname      // if a string, a path
	opaque        // ignored, with everything in it

	// In DAP only.
	sourceFile // like pathname, of a file that the host may lack
	module     // if an object, a Module
	modules    // if an array, of Modules
	target     // if an object, a StepInTarget, GotoTarget or CompletionItem
	targets    // if an array, of those
	prose      // if a string, text for the user
	result     // like prose, or one of the target's values
	line       // if a number, a line number
	lines      // if an array, of line numbers
	column     // if a number, a column number

	// In Delve's JSON-RPC only.
	rpcMessage  // the message itself
	rpcValue    // if an object or array, a value of one of Delve's types
	rpcLocation // if a string, a location expression; otherwise like rpcValue
	rpcFile     // if a string, the path of a file that a client may open
	pathnames   // if an array, of paths
)

// walker scans a message once. Its scan methods return the offset after the value, or
// -1 if it is malformed.
type walker struct {
	msg     []byte
	dir     Direction
	table   table
	client  Client
	missing *MissingFiles // nil if dir is ToNode

	place   sourcePlace // of the current Source
	lastDir dirMapping
	edits   Edits

	each MemberFunc // may be nil
	err  error      // returned by each

	decoded, mapped, url [256]byte // buffers, so that only longer paths allocate
}

// scanMessage scans the message and reports whether it is well formed.
func (w *walker) scanMessage(r role) bool {
	if len(w.msg) > maxMessage {
		return false
	}
	end := w.scanValue(0, r, 0)
	return end >= 0 && SkipSpace(w.msg, end) == len(w.msg)
}

func (w *walker) scanValue(i int, r role, depth int) int {
	i = SkipSpace(w.msg, i)
	if i >= len(w.msg) {
		return -1
	}
	switch w.msg[i] {
	case '"':
		end, escaped := stringEnd(w.msg, i+1)
		if end < 0 {
			return -1
		}
		if r != plain {
			w.mapString(i+1, end, escaped, r)
		}
		return end + 1
	case '{':
		if r == source && w.missing != nil {
			return w.scanSource(i+1, depth+1)
		}
		return w.scanObject(i+1, r, depth+1)
	case '[':
		return w.scanArray(i+1, r, depth+1)
	case 't':
		return literalEnd(w.msg, i, "true")
	case 'f':
		return literalEnd(w.msg, i, "false")
	case 'n':
		return literalEnd(w.msg, i, "null")
	}
	end := numberEnd(w.msg, i)
	switch {
	case r == line && w.client.Lines0, r == column && w.client.Columns0:
		w.shiftNumber(i, end)
	}
	return end
}

func (w *walker) scanObject(i int, r role, depth int) int {
	if depth > maxDepth {
		return -1
	}
	if i = SkipSpace(w.msg, i); i < len(w.msg) && w.msg[i] == '}' {
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
		key, name := i, w.msg[i+1:end]
		member := w.roleOfMember(r, name, escaped)
		if i = SkipSpace(w.msg, end+1); i >= len(w.msg) || w.msg[i] != ':' {
			return -1
		}
		start := SkipSpace(w.msg, i+1)
		if i = w.scanValue(start, member, depth); i < 0 || depth == 1 && !w.report(Member{name, key, start, i}, escaped) {
			return -1
		}
		i = SkipSpace(w.msg, i)
		switch {
		case i >= len(w.msg):
			return -1
		case w.msg[i] == '}':
			return i + 1
		case w.msg[i] != ',':
			return -1
		}
		i = SkipSpace(w.msg, i+1)
	}
}

func (w *walker) scanArray(i int, r role, depth int) int {
	if depth > maxDepth {
		return -1
	}
	if i = SkipSpace(w.msg, i); i < len(w.msg) && w.msg[i] == ']' {
		return i + 1
	}
	element := roleOfElement(r)
	for {
		if i = w.scanValue(i, element, depth); i < 0 {
			return -1
		}
		i = SkipSpace(w.msg, i)
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

func roleOfElement(r role) role {
	switch r {
	case sources:
		return source
	case modules:
		return module
	case targets:
		return target
	case lines:
		return line
	case pathnames:
		return pathname
	case opaque, rpcValue:
		return r
	}
	return plain
}

// roleOfMember returns the role of the member key in an object with role r.
func (w *walker) roleOfMember(r role, key []byte, escaped bool) role {
	if r == opaque {
		return opaque
	}
	if escaped {
		key, _ = unescape(w.decoded[:0], key)
	}
	switch r {
	case rpcMessage:
		return roleInRPCMessage(key)
	case rpcValue, rpcLocation:
		return roleInRPCValue(key)
	}
	return w.roleInDAP(r, key)
}

// mapString maps the paths in the string msg[start:end].
func (w *walker) mapString(start, end int, escaped bool, r role) {
	switch r {
	case pathname, sourceFile, rpcFile:
		w.mapPath(start, end, escaped, r)
	case rpcLocation:
		w.mapLocation(start, end, escaped)
	case prose:
		if w.dir == ToHost && len(w.table.trees) > 0 {
			w.mapProse(start, end)
		}
	case result:
		if w.dir == ToHost && len(w.table.trees) > 0 {
			before := w.edits.Len()
			w.mapProse(start, end)
			for i := before; i < w.edits.Len(); i++ {
				w.edits.list[i].isResult = true
			}
		}
	}
}

// decode returns the string msg[start:end] unescaped, and false if it is not text.
func (w *walker) decode(start, end int, escaped bool) ([]byte, bool) {
	if escaped {
		return unescape(w.decoded[:0], w.msg[start:end])
	}
	return w.msg[start:end], true
}

// replace replaces msg[start:end], the content of a string or a part of it, with value.
func (w *walker) replace(start, end int, value []byte) {
	from := len(w.edits.text)
	w.edits.text = appendEscaped(w.edits.text, value)
	w.edits.add(start, end, from)
}
