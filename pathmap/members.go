package pathmap

import "errors"

// Member is a member of a JSON object msg.
type Member struct {
	Name       []byte // unescaped; valid during the call
	Key        int    // offset of the name's opening quote
	Start, End int    // the value is msg[Start:End]
}

// MemberFunc is called with each member of a message. An error ends the scan.
type MemberFunc func(Member) error

var (
	errMalformed = errors.New("malformed JSON")
	errNotObject = errors.New("not a JSON object")
)

// ScanMembers calls each with the members of the JSON object msg, in order. It checks
// the grammar of the whole message, as [SkipValue] does. It returns the error of each,
// or an error if msg is malformed, nests too deeply or is not an object.
func ScanMembers(msg []byte, each MemberFunc) error {
	w := walker{msg: msg, each: each}
	return w.scan(opaque)
}

// Scan is like [ScanMembers], and also sets e to the changes that ToHost makes to msg;
// in the response to an evaluate request, they include changes to the result (see
// [Edits.DropResults]). It reads msg only once.
func (r *Rewriter) Scan(e *Edits, msg []byte, each MemberFunc) error {
	return r.scan(e, msg, plain, each)
}

// ScanRPC is like Scan, for the changes that RPCToHost makes.
func (r *Rewriter) ScanRPC(e *Edits, msg []byte, each MemberFunc) error {
	return r.scan(e, msg, rpcMessage, each)
}

func (r *Rewriter) scan(e *Edits, msg []byte, root role, each MemberFunc) error {
	e.Reset()
	w := r.newWalker(msg, ToHost)
	w.edits, w.each = *e, each
	err := w.scan(root)
	*e = w.edits // with its buffers, which may have grown
	return err
}

// scan scans the message, which must be an object.
func (w *walker) scan(root role) error {
	if start := SkipSpace(w.msg, 0); start == len(w.msg) || w.msg[start] != '{' {
		return errNotObject
	}
	ok := w.scanMessage(root)
	switch {
	case w.err != nil:
		return w.err
	case !ok:
		return errMalformed
	}
	return nil
}

// report calls each, if there is one, and reports whether the scan goes on.
func (w *walker) report(m Member, escaped bool) bool {
	if w.each == nil {
		return true
	}
	if escaped {
		if decoded, ok := unescape(nil, m.Name); ok { // otherwise it is no known name
			m.Name = decoded
		}
	}
	w.err = w.each(m)
	return w.err == nil
}
