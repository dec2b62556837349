// Package agent is dapbridge on the node. A supervisor, which traces nothing,
// holds the link to the daemon and the lease; a worker (package
// agent/worker) has Delve inside. The daemon's side of the link is here too
// ([Client]), so that both ends agree on one set of types.
//
// The link is a pair of byte streams, the standard input and output of
// `dapbridge agent supervise` run over SSH. The supervisor writes one [Hello]
// line; then both ends speak JSON-RPC 2.0, one message a line. A debug session's
// own bytes do not pass here: they run through a second SSH channel, whose
// descriptors `dapbridge agent join` hands to the worker, so that no process
// of ours stands between sshd and Delve.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// Protocol is the version of the link. Both ends must have the same one.
const Protocol = 1

// maxLine bounds one message of the link in bytes. A list of all processes of
// a busy node is the largest.
const maxLine = 8 << 20

// Methods of the link. The daemon calls, the supervisor answers; methodAttach
// and methodEnd are what the supervisor in turn calls on its worker.
const (
	methodPing    = "ping"    // nothing in or out; any message renews the lease
	methodTarget  = "target"  // -> Target
	methodList    = "list"    // -> []target.Candidate
	methodSources = "sources" // SourcesParams -> SourcesResult
	methodSource  = "source"  // SourceParams -> SourceResult
	methodLines   = "lines"   // SourceParams -> LinesResult
	methodAttach  = "attach"  // AttachParams -> AttachResult
	methodEnd     = "end"     // ends the session and detaches -> EndResult
	methodRelease = "release" // end, and the agent leaves
	methodCancel  = "cancel"  // CancelParams; a notification

	notifyLog   = "log"   // LogLine
	notifyEnded = "ended" // Ended
)

// Hello is the first line of the supervisor: what it is and what it found.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	PID      int    `json:"pid"`
	// Socket is the abstract socket that `agent join` connects to.
	Socket string `json:"socket"`
	// Capabilities is the body of Delve's answer to an initialize request.
	Capabilities json.RawMessage `json:"capabilities"`
	Debugger     Debugger        `json:"debugger"`
	// Target is the process that a session would debug, or nil and the reason.
	Target      *Target     `json:"target,omitempty"`
	TargetError *diag.Error `json:"targetError,omitempty"`
}

// Target is a debuggable process and what its executable says of its build.
type Target struct {
	target.Process
	Build target.Build `json:"build"`
}

// CancelParams names a call by its JSON-RPC id.
type CancelParams struct {
	ID string `json:"id"`
}

// tellCancel is a client's hook: it tells the server of a call that was given
// up.
func tellCancel(c *jrpc2.Client, r *jrpc2.Response) {
	c.Notify(context.Background(), methodCancel, CancelParams{ID: r.ID()}) // an error means that the server is gone
}

// CancelCall is the server's handler for that: it ends the call's context.
func CancelCall(ctx context.Context, p CancelParams) error {
	jrpc2.ServerFromContext(ctx).CancelRequest(p.ID)
	return nil
}

// AttachParams asks for a session. Token is the name under which
// `agent join` hands over the session's descriptors.
type AttachParams struct {
	Token    string          `json:"token"`
	Protocol SessionProtocol `json:"protocol"`
	Linger   time.Duration   `json:"linger"` // how long to stay attached after the session, ns

	Symbols *Symbols `json:"symbols,omitempty"` // for a stripped target
}

// SessionProtocol is what a session's client speaks.
type SessionProtocol string

// The protocols of a session.
const (
	DAP     SessionProtocol = "dap"     // the Debug Adapter Protocol
	JSONRPC SessionProtocol = "jsonrpc" // Delve's own, version 2
)

// AttachResult says what the session debugs.
type AttachResult struct {
	Target Target `json:"target"`
}

// EndResult says why a session had ended by itself, "" if it had not.
type EndResult struct {
	Reason string `json:"reason,omitempty"`
}

// Ended says why a session ended on the node's side, and whether the worker
// stays attached.
type Ended struct {
	Reason  string `json:"reason"`
	Lingers bool   `json:"lingers,omitempty"`
	// Yielded says that the target was let go for somebody else on the node, who
	// gave the reason.
	Yielded bool `json:"yielded,omitempty"`
}

// LogLine is one line of the agent's log.
type LogLine struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}

// RPCError turns err into a JSON-RPC error that keeps a [diag.Error] whole.
func RPCError(err error) error {
	if err == nil {
		return nil
	}
	var d *diag.Error
	if !errors.As(err, &d) {
		d = diag.Errorf(diag.Internal, "%w", err)
	}
	return jrpc2.Errorf(jrpc2.InternalError, "%s", d.Summary).WithData(d)
}

// fromRPC undoes RPCError. Text and remedy are the node's: not to be trusted.
func fromRPC(err error) error {
	var r *jrpc2.Error
	if !errors.As(err, &r) {
		return err
	}
	d := &diag.Error{}
	if len(r.Data) == 0 || json.Unmarshal(r.Data, d) != nil || d.Summary == "" {
		return diag.Errorf(diag.Internal, "the agent says: %s", oneLine(r.Message))
	}
	return tidied(d)
}

// tidied makes an error of the node's have one line each for what is wrong and
// what to do: a line of its own could look like ours.
func tidied(d *diag.Error) *diag.Error {
	d.Summary, d.Hint = oneLine(d.Summary), oneLine(d.Hint)
	return d
}

// noteLimit bounds a line of the node's for people, in bytes.
const noteLimit = 4 << 10

func oneLine(text string) string {
	if len(text) > noteLimit {
		text = strings.ToValidUTF8(text[:noteLimit], "") + "…"
	}
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(text)
}
