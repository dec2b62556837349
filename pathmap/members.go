package pathmap

import "errors"

// MemberFunc is told of a member of a message: its name, valid until it returns,
// and that its value is msg[start:end]. An error ends the pass.
type MemberFunc func(name []byte, start, end int) error

var (
	errMalformed = errors.New("malformed JSON")
	errNoObject  = errors.New("no JSON object")
)

// Scan puts into e, which it empties first, what ToHost changes in msg, of answers
// to evaluate what is in results too, and calls each with the members of the
// message, in the same pass and in their order. The error is each's, or that msg is
// no JSON object, malformed or nests too deep.
func (r *Rewriter) Scan(e *Edits, msg []byte, each MemberFunc) error {
	return r.scan(e, msg, plain, each)
}

// ScanRPC is Scan for what RPCToHost changes.
func (r *Rewriter) ScanRPC(e *Edits, msg []byte, each MemberFunc) error {
	return r.scan(e, msg, rpcMessage, each)
}

func (r *Rewriter) scan(e *Edits, msg []byte, is role, each MemberFunc) error {
	e.Reset()
	if start := skipSpace(msg, 0); start == len(msg) || msg[start] != '{' {
		return errNoObject
	}
	w := r.walker(msg, ToHost)
	w.edits, w.each = *e, each
	well := w.message(is)
	*e = w.edits // with the room that it has now
	switch {
	case w.err != nil:
		return w.err
	case !well:
		return errMalformed
	}
	return nil
}

// tell calls each, if there is one, and reports whether the pass goes on.
func (w *walker) tell(key []byte, escaped bool, start, end int) bool {
	if w.each == nil {
		return true
	}
	if escaped {
		if decoded, ok := unescape(nil, key); ok { // else it is no name that anybody knows
			key = decoded
		}
	}
	w.err = w.each(key, start, end)
	return w.err == nil
}
