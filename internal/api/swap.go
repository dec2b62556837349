package api

import (
	"encoding/json"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// The commands of `dapbridge agent swap`. Each has a request and a result type.
const (
	SwapInspect = "inspect" // InspectRequest -> InspectResult; changes nothing
	SwapDeploy  = "deploy"  // DeployRequest -> DeployResult
	SwapRestore = "restore" // RestoreRequest -> RestoreResult
)

// SwapArgs returns the arguments, after the program, that run one of the commands on
// the node with a request in JSON. The node sends several heartbeats in each
// idleTimeout and gives up on a host that stays silent for as long while it sends a
// build. A deploy reads the new build from its standard input after
// [StepReceiving], in the format of package delta.
func SwapArgs(command, request string, idleTimeout time.Duration) []string {
	return []string{"agent", "swap", command, "--idle-timeout", idleTimeout.String(), "--request", request}
}

// InspectRequest asks what a deploy would find.
type InspectRequest struct {
	Target Selector `json:"target"`
	Force  bool     `json:"force,omitempty"` // see DeployRequest
}

// InspectResult describes the target before anything is changed.
type InspectResult struct {
	Unit    string   `json:"unit"`
	Path    string   `json:"path"`              // of the executable
	PID     int      `json:"pid"`               // of the unit's main process, 0 if it does not run
	Session string   `json:"session,omitempty"` // who debugs it with dapbridge
	SHA256  string   `json:"sha256"`
	Size    int64    `json:"size"`
	Current bool     `json:"current"`           // the process runs the file that is now at Path
	Args    []string `json:"args,omitempty"`    // added by an earlier deploy
	Relaxed bool     `json:"relaxed,omitempty"` // an earlier deploy raised the timeouts
	Kept    bool     `json:"kept"`              // a copy of the original exists: the file at Path is an earlier deploy's
	// Volatile says why the change does not survive a reboot, "" if it does.
	Volatile string `json:"volatile,omitempty"`
	// Origin says how the original was built; nil if it is not a Go program. All
	// of it may be forged.
	Origin  *exe.Origin `json:"origin,omitempty"`
	Sockets []string    `json:"sockets,omitempty"` // sockets and addresses on which the target answers health checks
	Tasks   []Task      `json:"tasks,omitempty"`
}

// Task is a process that must survive the restart: a container's shim, or the first
// process of a container.
type Task struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"`
	Name       string `json:"name"` // of its executable
}

// DeployRequest asks to put a debug build in place of the target's executable.
type DeployRequest struct {
	Target Selector      `json:"target"`
	SHA256 string        `json:"sha256"`          // of the new build, in hex
	Size   int64         `json:"size"`            // of the new build in bytes
	Needs  exe.Needs     `json:"needs,omitzero"`  // what the build requires of the node
	Args   []string      `json:"args,omitempty"`  // to append to the command line of the target's unit
	Relax  bool          `json:"relax,omitempty"` // raise the timeouts that would expire while the target is halted
	Ready  time.Duration `json:"ready"`           // how long the new process may take to serve, ns
	Force  bool          `json:"force,omitempty"` // deploy even if the restart ends containers
	By     string        `json:"by,omitempty"`    // who asks, for the user whose session is ended
}

// DeployResult says what a deploy did.
type DeployResult struct {
	InspectResult
	Swapped bool          `json:"swapped"`        // this deploy replaced the file
	PID     int           `json:"newPID"`         // of the new process
	Served  time.Duration `json:"served"`         // from the restart until it served, ns
	Lost    []Task        `json:"lost,omitempty"` // tasks that did not survive
}

// RestoreRequest asks to undo all deploys on the node.
type RestoreRequest struct {
	DryRun bool `json:"dryRun,omitempty"` // only say what would be done
	// Replaced says what to do with an executable that somebody else has replaced
	// since the deploy: KeepReplaced or UndoReplaced. If it is empty, the restore of
	// that unit fails and leaves the unit as it is.
	Replaced string `json:"replaced,omitempty"`
	By       string `json:"by,omitempty"` // who asks, for the user whose session is ended
}

// What a restore does with an executable that is neither the original nor a build of
// ours.
const (
	KeepReplaced = "keep" // leave it, undo the rest, and delete the copy of the original
	UndoReplaced = "undo" // put the original back in its place
)

// RestoreResult says what a restore did, or with DryRun would do.
type RestoreResult struct {
	Units   []RestoredUnit `json:"restored,omitempty"`
	Removed string         `json:"removed,omitempty"` // the agent's directories
}

// RestoredUnit says what was done to one unit.
type RestoredUnit struct {
	Unit      string   `json:"unit"`
	Path      string   `json:"path"`
	File      bool     `json:"file"`              // the executable was put back
	Replaced  bool     `json:"replaced"`          // somebody else had replaced the executable
	DropIns   []string `json:"dropIns"`           // the drop-ins that were removed
	Restarted []string `json:"restarted"`         // units
	Session   string   `json:"session,omitempty"` // whose session with the target was ended
	Stage     string   `json:"stage"`             // how far the last deploy got
	PID       int      `json:"newPID,omitempty"`  // of the target now
}

// SwapStep is a stage of a command.
type SwapStep string

// The steps, in the order in which a deploy takes them.
const (
	StepSavingOriginal SwapStep = "saving" // copies the original, the first time only
	StepReceiving      SwapStep = "receiving"
	StepEndingSession  SwapStep = "ending"     // ends a debug session
	StepSwapping       SwapStep = "swapping"   // renames the build to the executable's name
	StepRestarting     SwapStep = "restarting" // restarts the target and waits until it serves
	StepRollingBack    SwapStep = "rollingBack"
)

// SwapProgress reports the step that a command has begun.
type SwapProgress struct {
	Step SwapStep `json:"step"`
	// Former is the SHA-256 of the file at the executable's path, to which the host
	// may send the difference. It comes with StepReceiving.
	Former string `json:"former,omitempty"`
}

// SwapMessage is one line of a command's output, in JSON. It holds at most one of
// the members; the last line holds a result or a failure. An empty one is a
// heartbeat.
type SwapMessage struct {
	Progress *SwapProgress   `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"` // of the command's result type
	Failure  *SwapFailure    `json:"failure,omitempty"`
}

// SwapFailure is the error that a command ends with.
type SwapFailure struct {
	Error *diag.Error `json:"error"`
	// Journal is the end of the journal of a new build that did not serve.
	Journal []string `json:"journal,omitempty"`
}

// DeployFailure is the error of a deploy whose new build did not serve.
type DeployFailure struct {
	Err     error
	Journal []string // the last lines that the new process logged: not to be trusted
}

func (f *DeployFailure) Error() string { return f.Err.Error() }
func (f *DeployFailure) Unwrap() error { return f.Err }
