package api

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// RPCError turns err into a JSON-RPC error that keeps a [diag.Error] whole.
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

// FromRPC undoes RPCError. Text and remedy are the node's: not to be trusted.
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

// FlattenError makes an error of the node's have one line each for what is wrong and
// what to do: a line of its own could look like ours.
func JoinErrorLines(d *diag.Error) *diag.Error {
	d.Summary, d.Hint = JoinLines(d.Summary), JoinLines(d.Hint)
	return d
}

// noteLimit bounds a line of the node's for people, in bytes.
const lineLimit = 4 << 10

func JoinLines(text string) string {
	if len(text) > lineLimit {
		text = strings.ToValidUTF8(text[:lineLimit], "") + "…"
	}
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(text)
}
