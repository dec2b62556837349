// Package api is what host and node say to each other: the types and methods of the
// link, the command lines that start the agent, and the messages of its commands.
// Neither side's code is here.
//
// The link is a pair of byte streams, the standard input and output of
// `dapbridge agent supervise` run over SSH. The supervisor writes one [Hello]
// line; then both ends speak JSON-RPC 2.0, one message a line. A debug session's
// own bytes do not pass here: they run through a second SSH channel, whose
// descriptors `dapbridge agent join` hands to the worker, so that no process
// of ours stands between sshd and Delve.
package api

import (
	"encoding/json"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Protocol is the version of the link. Both ends must have the same one.
const Protocol = 1

// maxLine bounds one message of the link in bytes. A list of all processes of
// a busy node is the largest.
const maxLine = 8 << 20

// Methods of the link. The daemon calls, the supervisor answers; methodAttach
// and methodEnd are what the supervisor in turn calls on its worker.
const (
	MethodPing    = "ping"    // nothing in or out; any message renews the lease
	MethodTarget  = "target"  // -> Target
	MethodList    = "list"    // -> []target.Candidate
	MethodSources = "sources" // SourcesParams -> SourcesResult
	MethodSource  = "source"  // SourceParams -> SourceResult
	MethodLines   = "lines"   // SourceParams -> LinesResult
	MethodAttach  = "attach"  // AttachParams -> AttachResult
	MethodEnd     = "end"     // ends the session and detaches -> EndResult
	MethodRelease = "release" // end, and the agent leaves
	MethodCancel  = "cancel"  // CancelParams; a notification

	NotifyLog   = "log"   // LogLine
	NotifyEnded = "ended" // Ended
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
	Process
	Build exe.Build `json:"build"`
}

// CancelParams names a call by its JSON-RPC id.
type CancelParams struct {
	ID string `json:"id"`
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
	Preempted bool `json:"preempted,omitempty"`
}

// LogLine is one line of the agent's log.
type LogLine struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}
