package bridge

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dapbridge/dapbridge/pathmap"
)

// member returns the value of an object's member as encoding/json, which
// decodes it in Delve, would find it: in upper or lower case, the last of
// several. It reports false if there is none or obj is no JSON object.
func member(obj []byte, name string) (raw []byte, ok bool) {
	s := newMemberScanner(obj)
	for s.next() {
		if s.is(name) {
			raw, ok = s.value.of(obj), true
		}
	}
	if s.err != nil {
		return nil, false
	}
	return raw, ok
}

// setMember returns obj with a member, in place of all that [member] takes for
// it, and every other byte as it was. An obj that is empty or null is taken
// for {}; one that is no JSON object is returned as it is. The name must need
// no escapes.
func setMember(obj []byte, name string, value []byte) []byte {
	if trimmed := bytes.TrimSpace(obj); len(trimmed) == 0 || string(trimmed) == "null" {
		obj = []byte("{}")
	}
	s := newMemberScanner(obj)
	open, matches := s.at, 0
	var only pathmap.Edit
	for s.next() {
		if s.is(name) {
			matches++
		}
		if string(s.name()) == name {
			only = s.value.replace(value)
		}
	}
	switch {
	case s.err != nil:
		return obj
	case matches == 1 && only.End > 0:
		return splice(nil, obj, only)
	case matches > 0:
		return setMember(deleteMember(obj, name), name, value)
	}
	return splice(nil, obj, insertion(obj, open, name, value))
}

// deleteMember returns obj without all that [member] takes for the member, and
// every other byte as it was. An obj without it, or that is no JSON object, is
// returned as it is.
func deleteMember(obj []byte, name string) []byte {
	var edits []pathmap.Edit
	kept, head, end := false, -1, 0
	s := newMemberScanner(obj)
	for s.next() {
		switch {
		case !s.is(name):
			if head >= 0 { // what is first takes the comma behind it along
				edits = append(edits, span{head, s.key.start}.replace(nil))
			}
			kept, head = true, -1
		case kept: // the others the comma before them
			edits = append(edits, span{end, s.value.end}.replace(nil))
		case head < 0:
			head = s.key.start
		}
		end = s.value.end
	}
	if head >= 0 {
		edits = append(edits, span{head, end}.replace(nil))
	}
	if s.err != nil || len(edits) == 0 {
		return obj
	}
	return splice(nil, obj, edits...)
}

// memberScanner steps through the members of one raw JSON object, the next
// after each call of next that returns true. It checks the whole object's
// grammar on its way.
type memberScanner struct {
	obj        []byte
	at         int  // offset behind what was read
	key, value span // of the member, the key with its quotes
	done       bool
	err        error
}

func newMemberScanner(obj []byte) *memberScanner {
	s := &memberScanner{obj: obj}
	if open := skipSpace(obj, 0); s.peek(open) != '{' {
		s.err = errors.New("it is no JSON object")
	} else {
		s.at = open + 1
	}
	return s
}

func (s *memberScanner) next() bool {
	if s.err != nil || s.done {
		return false
	}
	i := skipSpace(s.obj, s.at)
	if s.peek(i) == '}' {
		return s.close(i + 1)
	}
	if s.value.end > 0 {
		if s.peek(i) != ',' {
			return s.malformed(i)
		}
		i = skipSpace(s.obj, i+1)
	}
	if s.peek(i) != '"' {
		return s.malformed(i)
	}
	s.key = span{i, pathmap.SkipValue(s.obj, i)}
	if s.key.end < 0 {
		return s.malformed(i)
	}
	if i = skipSpace(s.obj, s.key.end); s.peek(i) != ':' {
		return s.malformed(i)
	}
	i = skipSpace(s.obj, i+1)
	s.value = span{i, pathmap.SkipValue(s.obj, i)}
	if s.value.end < 0 {
		return s.malformed(i)
	}
	s.at = s.value.end
	return true
}

// close ends the scan at the object's end, behind which nothing may be.
func (s *memberScanner) close(end int) bool {
	s.done = true
	if rest := skipSpace(s.obj, end); rest < len(s.obj) {
		return s.malformed(rest)
	}
	return false
}

func (s *memberScanner) malformed(i int) bool {
	s.err = fmt.Errorf("malformed JSON at or after byte %d", i)
	return false
}

// peek returns the byte at i, or 0 behind the end.
func (s *memberScanner) peek(i int) byte {
	if i < len(s.obj) {
		return s.obj[i]
	}
	return 0
}

// name returns the member's name.
func (s *memberScanner) name() []byte {
	raw := s.key.of(s.obj)
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	decoded, _ := text(raw) // the scanner has checked it
	return []byte(decoded)
}

// is reports whether encoding/json would take the member for the named one.
func (s *memberScanner) is(name string) bool {
	return bytes.EqualFold(s.name(), []byte(name))
}

// skipSpace returns the offset of the first byte from i on that is no JSON
// white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}
