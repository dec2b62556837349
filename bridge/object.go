package bridge

import (
	"bytes"

	"github.com/dapbridge/dapbridge/pathmap"
)

// isNamed reports whether encoding/json would take m for the member name.
func isNamed(m pathmap.Member, name string) bool {
	return bytes.EqualFold(m.Name, []byte(name))
}

// member returns the value of an object's member as Delve's decoder, encoding/json,
// would find it: case does not matter, and the last match wins. It reports false if
// there is none or obj is not a JSON object.
func member(obj []byte, name string) (raw []byte, ok bool) {
	err := pathmap.ScanMembers(obj, func(m pathmap.Member) error {
		if isNamed(m, name) {
			raw, ok = obj[m.Start:m.End], true
		}
		return nil
	})
	if err != nil {
		return nil, false
	}
	return raw, ok
}

// setMember returns obj with a member that replaces all those that [member] matches by
// that name, and every other byte unchanged. An obj that is empty or null counts as {};
// one that is not a JSON object is returned unchanged. The name must need no escapes.
func setMember(obj []byte, name string, value []byte) []byte {
	if trimmed := bytes.TrimSpace(obj); len(trimmed) == 0 || string(trimmed) == "null" {
		obj = []byte("{}")
	}
	matches := 0
	var only span
	err := pathmap.ScanMembers(obj, func(m pathmap.Member) error {
		if isNamed(m, name) {
			matches++
		}
		if string(m.Name) == name {
			only = span{m.Start, m.End}
		}
		return nil
	})
	switch {
	case err != nil:
		return obj
	case matches == 1 && only != span{}:
		return splice(nil, obj, only.replace(value))
	case matches > 0:
		return setMember(deleteMember(obj, name), name, value)
	}
	return splice(nil, obj, insertion(obj, pathmap.SkipSpace(obj, 0)+1, name, value))
}

// deleteMember returns obj without the members that [member] matches by that name, and
// every other byte unchanged. An obj that is not a JSON object is returned unchanged.
func deleteMember(obj []byte, name string) []byte {
	var edits []pathmap.Edit
	hasKept, first, end := false, -1, 0 // first is where a run of deleted members at the start begins
	err := pathmap.ScanMembers(obj, func(m pathmap.Member) error {
		switch {
		case !isNamed(m, name):
			if first >= 0 { // delete the comma after them
				edits = append(edits, span{first, m.Key}.replace(nil))
			}
			hasKept, first = true, -1
		case hasKept: // delete the comma before it
			edits = append(edits, span{end, m.End}.replace(nil))
		case first < 0:
			first = m.Key
		}
		end = m.End
		return nil
	})
	if first >= 0 {
		edits = append(edits, span{first, end}.replace(nil))
	}
	if err != nil || len(edits) == 0 {
		return obj
	}
	return splice(nil, obj, edits...)
}
