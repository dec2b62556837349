package pathmap

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
// A path is what the Debug Adapter Protocol has in a Source, the member "path"
// of an object that is the member "source" or "location" of another, or in the
// array "sources"; and in a Module. To the host, text for people is mapped too,
// where a source file is recognised in it (prose.go). What an adapter hides in a
// Source's "adapterData" is not looked at. No path has over 4,096 bytes.
func (m *Map) Rewrite(dst, msg []byte, dir Direction) (out []byte, changed int) {
	return (&Rewriter{Map: m}).rewrite(dst, msg, dir, plain, false)
}

// role is what a value is to the reader of a message.
type role uint8

const (
	plain    role = iota
	source        // if an object, a Source
	sources       // if an array, one of Sources
	pathname      // if a string, a path
	opaque        // of no interest, nor what is in it

	// Of DAP alone.
	sourceFile // as pathname, of a Source: the host may lack it
	module     // if an object, a Module
	modules    // if an array, one of Modules
	target     // if an object, a StepInTarget, GotoTarget or CompletionItem
	targets    // if an array, one of those
	prose      // if a string, text for people
	result     // as prose, but it may be a value of the target's
	line       // if a number, of a line
	lines      // if an array, one of lines
	column     // if a number, of a column

	// Of Delve's JSON-RPC.
	rpcMessage  // the message itself
	rpcValue    // if an object or array, one of Delve's
	rpcLocation // if a string, a location expression; else as rpcValue
	rpcFile     // if a string, the path of a file that a client may open
	pathnames   // if an array, one of paths
)

// walker goes over a message once. Its methods return the offset behind what
// they are named after, or -1 if that is malformed.
type walker struct {
	msg     []byte
	dir     Direction
	table   table
	client  Client
	missing *MissingFiles // to the host alone

	place sourcePlace // of the Source that is being read
	last  dirMapping
	edits Edits

	each MemberFunc // may be nil
	err  error      // each's

	decoded, mapped, url [256]byte // scratch, so that only longer paths allocate
}

// message goes over the message and reports whether it is well formed.
func (w *walker) message(r role) bool {
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

// memberRole returns the role of the member key of an object with role r.
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

// str handles the string at msg[start:end].
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

// text returns the string at msg[start:end].
func (w *walker) decode(start, end int, escaped bool) ([]byte, bool) {
	if escaped {
		return unescape(w.decoded[:0], w.msg[start:end])
	}
	return w.msg[start:end], true
}

// splice puts value into the place of the content of a string, msg[start:end],
// or of a part of it.
func (w *walker) replace(start, end int, value []byte) {
	from := len(w.edits.text)
	w.edits.text = appendEscaped(w.edits.text, value)
	w.edits.add(start, end, from)
}
