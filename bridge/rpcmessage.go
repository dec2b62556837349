package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/dapbridge/dapbridge/pathmap"
)

// rpcEnvelope holds the members that the bridge reads from every JSON-RPC message, and
// their positions in the scanned bytes.
type rpcEnvelope struct {
	Method string // of a request
	ID     string // raw; "null" if there is none

	method, id, params, result, error span
}

// scanRPC reads a message in one pass over its bytes. It fails if a member occurs
// twice or differs from its name only in case, as in [scanEnvelope].
func scanRPC(body []byte) (rpcEnvelope, error) {
	env := rpcEnvelope{ID: "null"}
	if err := pathmap.ScanMembers(body, env.setIn(body)); err != nil {
		return rpcEnvelope{}, fmt.Errorf("scan message: %w", err)
	}
	return env, nil
}

// readRPC is like [scanRPC]; in the same pass, it sets e to the changes that r makes to
// an answer from the node.
func readRPC(r *pathmap.Rewriter, e *pathmap.Edits, body []byte) (rpcEnvelope, error) {
	env := rpcEnvelope{ID: "null"}
	if err := r.ScanRPC(e, body, env.setIn(body)); err != nil {
		return rpcEnvelope{}, fmt.Errorf("scan message: %w", err)
	}
	return env, nil
}

// hasError reports whether an answer says that the request failed.
func (env rpcEnvelope) hasError(body []byte) bool {
	return env.error != (span{}) && string(env.error.in(body)) != "null"
}

// setIn returns a function that sets the envelope's fields from body's members.
func (env *rpcEnvelope) setIn(body []byte) pathmap.MemberFunc {
	return func(m pathmap.Member) error { return env.set(m.Name, body[m.Start:m.End], span{m.Start, m.End}) }
}

// set records the value and the position of one member.
func (env *rpcEnvelope) set(name, raw []byte, at span) (err error) {
	where := env.field(name)
	if where == nil {
		return checkRPCSpelling(name)
	}
	if *where != (span{}) {
		return fmt.Errorf("%s occurs twice", name)
	}
	*where = at
	switch where {
	case &env.id:
		env.ID = string(raw)
	case &env.method:
		env.Method, err = decodeString(raw)
	}
	return err
}

// field returns the field that holds a member's position, or nil if the member is not
// part of the envelope.
func (env *rpcEnvelope) field(name []byte) *span {
	switch string(name) {
	case "method":
		return &env.method
	case "id":
		return &env.id
	case "params":
		return &env.params
	case "result":
		return &env.result
	case "error":
		return &env.error
	}
	return nil
}

// checkRPCSpelling fails for a name that encoding/json would take for one of the
// envelope's.
func checkRPCSpelling(name []byte) error {
	for _, known := range []string{"method", "id", "params", "result", "error"} {
		if bytes.EqualFold(name, []byte(known)) {
			return fmt.Errorf("%q is not %q", name, known)
		}
	}
	return nil
}

// decodeParams decodes a request's only parameter exactly as Delve does
// (net/rpc/jsonrpc, ReadRequestBody), so that the policy sees what Delve sees.
func (env *rpcEnvelope) decodeParams(body []byte, in any) error {
	if env.params == (span{}) {
		return nil
	}
	list := [1]any{in}
	return json.Unmarshal(env.params.in(body), &list)
}

// withoutParam returns the request without the given member of its parameter.
func (env *rpcEnvelope) withoutParam(body []byte, name string) []byte {
	open := pathmap.SkipSpace(body, env.params.start)
	if env.params == (span{}) || body[open] != '[' {
		return body
	}
	first := span{pathmap.SkipSpace(body, open+1), 0}
	if first.end = pathmap.SkipValue(body, first.start); first.end < 0 {
		return body
	}
	return splice(nil, body, first.replace(deleteMember(first.in(body), name)))
}

// rpcAnswer returns the bridge's own answer to a request, as a line: err if it is not
// nil, the result otherwise.
func rpcAnswer(id string, result any, err error) []byte {
	var problem any
	if err != nil {
		result, problem = nil, errorText(err)
	}
	raw, merr := json.Marshal(result)
	if merr != nil {
		raw, problem = []byte("null"), merr.Error()
	}
	text, _ := json.Marshal(problem) // a string or nil
	return fmt.Appendf(nil, `{"id":%s,"result":%s,"error":%s}`+"\n", id, raw, text)
}
