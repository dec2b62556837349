package api

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// ToRPC converts err to a JSON-RPC error that carries a complete [diag.Error].
func ToRPC(err error) error {
	if err == nil {
		return nil
	}
	var d *diag.Error
	if !errors.As(err, &d) {
		d = diag.Errorf(diag.Internal, "%w", err)
	}
	return jrpc2.Errorf(jrpc2.InternalError, "%s", d.Summary).WithData(d)
}

// FromRPC is the inverse of ToRPC. Summary and hint come from the node and are not to
// be trusted.
func FromRPC(err error) error {
	var r *jrpc2.Error
	if !errors.As(err, &r) {
		return err
	}
	d := &diag.Error{}
	if len(r.Data) == 0 || json.Unmarshal(r.Data, d) != nil || d.Summary == "" {
		return diag.Errorf(diag.Internal, "the agent says: %s", JoinLines(r.Message))
	}
	return JoinErrorLines(d)
}

// JoinErrorLines applies [JoinLines] to the summary and the hint of an error from the
// node: text on a line of its own could pass for ours.
func JoinErrorLines(d *diag.Error) *diag.Error {
	d.Summary, d.Hint = JoinLines(d.Summary), JoinLines(d.Hint)
	return d
}

// lineLimit bounds a line of text from the node, in bytes.
const lineLimit = 4 << 10

// JoinLines returns text from the node as one line of bounded length: line breaks and
// tabs become spaces.
func JoinLines(text string) string {
	if len(text) > lineLimit {
		text = strings.ToValidUTF8(text[:lineLimit], "") + "…"
	}
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(text)
}
