package bridge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/dapbridge/dapbridge/pathmap"
)

// span is the part [start,end) of a message. The zero span means that there is none.
type span struct{ start, end int }

// in returns that part of b.
func (s span) in(b []byte) []byte { return b[s.start:s.end] }

// envelope holds the members that the bridge reads from every message, and their
// positions in the scanned bytes.
type envelope struct {
	Type, Command, Event string
	Seq, RequestSeq      int64
	Success              bool

	open int // offset just after the message's '{'

	typ, command, event      span
	seq, requestSeq, success span
	arguments, body, message span
}

// scanEnvelope reads a message in one pass over its bytes. It fails if the message
// is not a JSON object, or if a member of the envelope occurs twice, has the wrong
// type, or differs from its name only in case: Delve's decoder reads Command as
// command, and nothing may pass that the policy has not seen.
func scanEnvelope(body []byte) (envelope, error) {
	env := newEnvelope(body)
	if err := pathmap.ScanMembers(body, env.setIn(body)); err != nil {
		return envelope{}, fmt.Errorf("scan message: %w", err)
	}
	return env, nil
}

// readEnvelope is like [scanEnvelope]; in the same pass, it sets e to the changes that
// r makes to the message.
func readEnvelope(r *pathmap.Rewriter, e *pathmap.Edits, body []byte) (envelope, error) {
	env := newEnvelope(body)
	if err := r.Scan(e, body, env.setIn(body)); err != nil {
		return envelope{}, fmt.Errorf("scan message: %w", err)
	}
	return env, nil
}

func newEnvelope(body []byte) envelope { return envelope{open: pathmap.SkipSpace(body, 0) + 1} }

// setIn returns a function that sets the envelope's fields from body's members.
func (env *envelope) setIn(body []byte) pathmap.MemberFunc {
	return func(m pathmap.Member) error { return env.set(m.Name, body[m.Start:m.End], span{m.Start, m.End}) }
}

// set records the value and the position of one member.
func (env *envelope) set(name, raw []byte, at span) error {
	where := env.field(name)
	if where == nil {
		return checkSpelling(name)
	}
	if *where != (span{}) {
		return fmt.Errorf("%s occurs twice", name)
	}
	*where = at
	var err error
	switch where {
	case &env.typ:
		env.Type, err = decodeString(raw)
	case &env.command:
		env.Command, err = decodeString(raw)
	case &env.event:
		env.Event, err = decodeString(raw)
	case &env.seq:
		env.Seq, err = strconv.ParseInt(string(raw), 10, 64)
	case &env.requestSeq:
		env.RequestSeq, err = strconv.ParseInt(string(raw), 10, 64)
	case &env.success:
		env.Success = raw[0] == 't'
		if raw[0] != 't' && raw[0] != 'f' {
			err = fmt.Errorf("%.80s is neither true nor false", raw)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// field returns the field that holds a member's position, or nil if the member is not
// part of the envelope.
func (env *envelope) field(name []byte) *span {
	switch string(name) {
	case "type":
		return &env.typ
	case "command":
		return &env.command
	case "event":
		return &env.event
	case "seq":
		return &env.seq
	case "request_seq":
		return &env.requestSeq
	case "success":
		return &env.success
	case "arguments":
		return &env.arguments
	case "body":
		return &env.body
	case "message":
		return &env.message
	}
	return nil
}

// checkSpelling fails for a name that encoding/json would take for one of the
// envelope's.
func checkSpelling(name []byte) error {
	for _, known := range []string{
		"type", "command", "event", "seq", "request_seq", "success", "arguments", "body", "message",
	} {
		if bytes.EqualFold(name, []byte(known)) {
			return fmt.Errorf("%q is not %q", name, known)
		}
	}
	return nil
}

// decodeString decodes a JSON string.
func decodeString(raw []byte) (string, error) {
	var s string
	if raw[0] != '"' {
		return "", fmt.Errorf("%.80s is not a string", raw)
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	err := json.Unmarshal(raw, &s)
	return s, err
}

// replace returns the edit that replaces s by value.
func (s span) replace(value []byte) pathmap.Edit {
	return pathmap.Edit{Start: s.start, End: s.end, Text: value}
}

// splice appends body to dst with the edits applied. They may be in any order but must
// not overlap.
func splice(dst, body []byte, edits ...pathmap.Edit) []byte {
	return pathmap.Splice(dst, body, sortEdits(edits)...)
}

// sortEdits sorts edits by position.
func sortEdits(edits []pathmap.Edit) []pathmap.Edit {
	slices.SortFunc(edits, func(a, b pathmap.Edit) int { return cmp.Compare(a.Start, b.Start) })
	return edits
}

// renumber appends body, whose envelope is env, to dst with new sequence numbers. A
// missing seq is added, a missing request_seq is not; no other byte changes.
func renumber(dst, body []byte, env envelope, seq, requestSeq int64) []byte {
	return splice(dst, body, env.numberEdits(body, seq, requestSeq)...)
}

// numberEdits returns the edits of renumber.
func (env envelope) numberEdits(body []byte, seq, requestSeq int64) []pathmap.Edit {
	first := env.seq.replace(strconv.AppendInt(nil, seq, 10))
	if env.seq == (span{}) {
		first = insertion(body, env.open, "seq", first.Text)
	}
	if env.requestSeq == (span{}) {
		return []pathmap.Edit{first}
	}
	return []pathmap.Edit{first, env.requestSeq.replace(strconv.AppendInt(nil, requestSeq, 10))}
}

// insertion returns the edit that adds a first member to the object whose brace is just
// before offset open.
func insertion(body []byte, open int, name string, value []byte) pathmap.Edit {
	member := fmt.Appendf(nil, "%q:%s", name, value)
	if body[pathmap.SkipSpace(body, open)] != '}' {
		member = append(member, ',')
	}
	return span{open, open}.replace(member)
}
