// Package api defines what host and node say to each other: the types and methods of
// the link, the command lines that start the agent, and the messages of its commands.
// It holds neither side's code.
//
// The link is a pair of byte streams, the standard input and output of `dapbridge
// agent supervise` run over SSH. The supervisor writes one [Hello] line; then both
// ends speak JSON-RPC 2.0, one message a line. A debug session does not use the link:
// its bytes go through a second SSH channel, whose descriptors `dapbridge agent join`
// hands to the worker, so that no process of ours sits between sshd and Delve.
package api

import (
	"encoding/json"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Protocol is the version of the link. Both ends must have the same one.
const Protocol = 1

// maxLine bounds one message of the link in bytes. The largest is the list of all
// processes of a busy node.
const maxLine = 8 << 20

// Methods of the link. The daemon calls and the supervisor answers. The supervisor in
// turn calls attach, end, release and cancel on its worker.
const (
	MethodPing    = "ping"    // no params or result; any message renews the lease
	MethodTarget  = "target"  // -> Target
	MethodList    = "list"    // -> []Candidate
	MethodSources = "sources" // SourcesParams -> SourcesResult
	MethodSource  = "source"  // SourceParams -> SourceResult
	MethodLines   = "lines"   // SourceParams -> LinesResult
	MethodAttach  = "attach"  // AttachParams -> AttachResult
	MethodEnd     = "end"     // ends the session and detaches -> EndResult
	MethodRelease = "release" // ends the session, detaches, and ends the agent
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
	// Socket is the abstract unix socket that `agent join` connects to.
	Socket string `json:"socket"`
	// Capabilities is the body of Delve's answer to an initialize request.
	Capabilities json.RawMessage `json:"capabilities"`
	Debugger     Debugger        `json:"debugger"`
	// Target is the process that a session would debug; nil if there is none, for the
	// reason in TargetError.
	Target      *Target     `json:"target,omitempty"`
	TargetError *diag.Error `json:"targetError,omitempty"`
}

// Target is a debuggable process and what its executable says about its build.
type Target struct {
	Process
	Build exe.Build `json:"build"`
}

// CancelParams names a call by its JSON-RPC id.
type CancelParams struct {
	ID string `json:"id"`
}

// AttachParams asks for a session. Token is the name under which `agent join` hands
// over the session's descriptors.
type AttachParams struct {
	Token    string          `json:"token"`
	Protocol SessionProtocol `json:"protocol"`
	Linger   time.Duration   `json:"linger"` // how long to stay attached after the session, ns

	// Symbols are those of a stripped target. If there are none for it, FunctionTable says
	// that its function table is to do.
	Symbols       *Symbols `json:"symbols,omitempty"`
	FunctionTable bool     `json:"functionTable,omitempty"`
}

// SessionProtocol is the protocol that a session's client speaks.
type SessionProtocol string

// The session protocols.
const (
	DAP     SessionProtocol = "dap"     // the Debug Adapter Protocol
	JSONRPC SessionProtocol = "jsonrpc" // Delve's own, version 2
)

// AttachResult says which process the session debugs.
type AttachResult struct {
	Target Target `json:"target"`
	// FunctionTable is set if the target is debugged with no more than that.
	FunctionTable *FunctionTable `json:"functionTable,omitempty"`
}

// EndResult holds the reason for which the session had already ended, "" if it had
// not.
type EndResult struct {
	Reason string `json:"reason,omitempty"`
}

// Ended says why a session ended on the node's side, and whether the worker stays
// attached.
type Ended struct {
	Reason  string `json:"reason"`
	Lingers bool   `json:"lingers,omitempty"`
	// Preempted says that the target was released for a deploy or restore on the node,
	// which gave the reason.
	Preempted bool `json:"preempted,omitempty"`
}

// LogLine is one line of the agent's log.
type LogLine struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}
