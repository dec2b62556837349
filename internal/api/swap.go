package api

import (
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// SwapRequest is what the host asks for.
type SwapRequest struct {
	Target Selector      `json:"target"`
	SHA256 string        `json:"sha256,omitempty"` // of the new build, in hex
	Size   int64         `json:"size,omitempty"`   // of the new build in bytes
	Needs  exe.Needs     `json:"needs,omitzero"`   // of the node's libraries
	Args   []string      `json:"args,omitempty"`   // added to the command line of the target's unit
	Relax  bool          `json:"relax,omitempty"`  // let nobody time out while the target is halted
	Ready  time.Duration `json:"ready,omitempty"`  // how long the new process may take to serve, ns
	Force  bool          `json:"force,omitempty"`  // swap also if the restart ends containers
	By     string        `json:"by,omitempty"`     // who asks, for the user whose session it ends
	DryRun bool          `json:"dryRun,omitempty"` // say what would be done (Restore)
	// Replaced says what Restore does with an executable that somebody else has
	// replaced since: Keep or Undo. Without, it leaves all of that unit as it is.
	Replaced string `json:"replaced,omitempty"`
	// IdleTimeout bounds the silence of either side, ns. The node sends an empty
	// Message several times in each, as a heartbeat.
	IdleTimeout time.Duration `json:"idleTimeout,omitempty"`
}

// What Restore does with an executable that is neither the original nor a build of
// ours.
const (
	KeepReplaced = "keep" // leaves it as it is, undoes the rest, and forgets the original
	UndoReplaced = "undo" // puts the original in its place
)

// What a run is at.
const (
	StepKeeping    = "keeping"    // copies the original, once
	StepReceiving  = "receiving"  // takes the new build, by what it differs from Message.Former
	StepEnding     = "ending"     // has a session with the target end
	StepSwapping   = "swapping"   // renames it into the target's place
	StepRestarting = "restarting" // and waits until it serves
	StepReturning  = "returning"  // puts the former one back, since the new one does not serve
)

// SwapMessage is one line of what a run tells the host, as JSON. The last one holds
// a result or an Error. An empty one is a heartbeat: the run goes on.
type SwapMessage struct {
	Step     string      `json:"step,omitempty"`
	Former   string      `json:"former,omitempty"` // with Receiving: SHA-256 of the file that stands there
	State    *SwapState  `json:"state,omitempty"`
	Deployed *Deployed   `json:"deployed,omitempty"`
	Restored []Restored  `json:"restored,omitempty"`
	Removed  string      `json:"removed,omitempty"` // directories of the agent's
	Done     bool        `json:"done,omitempty"`
	Error    *diag.Error `json:"error,omitempty"`
	Journal  []string    `json:"journal,omitempty"` // with an Error: what the new process said last
}

// SwapState is what there is before anything is changed.
type SwapState struct {
	Unit    string   `json:"unit"`
	Path    string   `json:"path"`              // of the executable
	PID     int      `json:"pid"`               // of the unit's main process, 0 if it does not run
	Session string   `json:"session,omitempty"` // who debugs it by a dapbridge
	SHA256  string   `json:"sha256"`
	Size    int64    `json:"size"`
	Current bool     `json:"current"`           // the process runs the file that stands at Path
	Args    []string `json:"args,omitempty"`    // that an earlier run has added
	Relaxed bool     `json:"relaxed,omitempty"` // by an earlier run
	Kept    bool     `json:"kept"`              // an original is kept: what stands at Path came from an earlier run
	// Volatile says why the change does not outlive a reboot, "" if it does.
	Volatile string `json:"volatile,omitempty"`
	// Origin says how the original was built; nil if that is no Go program. All
	// of it may be made up.
	Origin  *exe.Origin `json:"origin,omitempty"`
	Sockets []string    `json:"sockets,omitempty"` // and addresses, on which the target says that it serves
	Tasks   []Task      `json:"tasks,omitempty"`
}

// Task is a process that must outlive the restart: a container's shim, or the
// first process of a container.
type Task struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"`
	Name       string `json:"name"` // of its executable
}

// Deployed is what has been done.
type Deployed struct {
	SwapState
	Swapped bool          `json:"swapped"`        // the file was replaced, just now
	PID     int           `json:"newPID"`         // of the new process
	Served  time.Duration `json:"served"`         // from the restart until it served, ns
	Lost    []Task        `json:"lost,omitempty"` // tasks that are gone since
}

// Restored is what was put back, or would be, of one unit.
type Restored struct {
	Unit      string   `json:"unit"`
	Path      string   `json:"path"`
	File      bool     `json:"file"`              // the executable
	Replaced  bool     `json:"replaced"`          // it was, by somebody else since
	DropIns   []string `json:"dropIns"`           // removed
	Restarted []string `json:"restarted"`         // units
	Session   string   `json:"session,omitempty"` // whose session with the target ended for it
	Stage     string   `json:"stage"`             // at which the last run had been
	PID       int      `json:"newPID,omitempty"`  // of the target now
}

// DeployFailure is a deploy's end at which the new build did not serve.
type DeployFailure struct {
	Err     error
	Journal []string // what it said last; the target's: not to be trusted
}

func (f *DeployFailure) Error() string { return f.Err.Error() }
func (f *DeployFailure) Unwrap() error { return f.Err }

// SwapArgs returns the arguments that run a command of this package on the node,
// after the program. A deploy reads the new build from its standard input once it
// is Receiving, as package delta writes it, with the former file or without.
func SwapArgs(what, request string) []string {
	return []string{"agent", "swap", what, "--request", request}
}

// The commands.
const (
	SwapInspect = "inspect"
	SwapDeploy  = "deploy"
	SwapRestore = "restore"
)
