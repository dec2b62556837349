// Package doctor says what of a node, its target and the host suits a debugger,
// and what to type where it does not. It judges facts that it is handed, and
// looks at nothing itself.
package doctor

import (
	"slices"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/target"
)

// Status is how a check came out.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, and something is to be expected of it
	Failed  Status = "error"   // a session, or what was asked for, will not work
	Skipped Status = "skipped" // what comes before has to be put right first
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`            // what there is
	Why    string `json:"why,omitempty"`    // why it matters; empty if the check is OK
	Remedy string `json:"remedy,omitempty"` // what to type or do; likewise
}

// Report is all checks, in the order in which they depend on one another.
type Report struct {
	Checks []Check `json:"checks"`
}

// Worst returns the exit status: 0 if nothing was found, 1 for a warning, 2 for an
// error.
func (r Report) ExitStatus() int {
	worst := 0
	for _, c := range r.Checks {
		switch c.Status {
		case Warning:
			worst = max(worst, 1)
		case Failed:
			worst = 2
		}
	}
	return worst
}

// Facts are what was found. A stage that failed leaves what comes behind it empty,
// and its error in Err.
type Facts struct {
	Node  Node
	Err   error // why the facts end here; nil if they are whole
	Agent *Agent

	// Of the target; all empty if TargetErr says why there is none.
	Target       *target.Process
	Build        *target.Build
	TargetErr    error
	TracerErr    error // who traces it
	Optimisation *target.Optimisation
	GoWarning    string // what to expect of its Go version, "" for nothing

	Source Source
	Host   Host
}

// Node is the node as the host names and reaches it.
type Node struct {
	Name  string
	Local bool   // it counts as a toy
	Why   string // or why not
}

// Agent is what the agent found on the node.
type Agent struct {
	Platform       string // linux/amd64
	Root           string // how the agent became root: "sudo", or "" if it logs in so
	System         string
	Kernel         string
	CgroupV2       bool
	Obstacles      []string // what in the kernel's files may forbid tracing
	TracingFailure string   // why a child could not be traced, "" if it could
	Frozen         bool     // the target's cgroup is
	Dir            string   // the agent's
	Free           int64    // bytes there
	Rsync          string   // its path, "" for none
	Kubelet        *target.Kubelet
}

// Source is the target's source on both sides.
type Source struct {
	Root    string // where it was looked for
	Problem string // why the main module is not found there, "" if it is
	Files   int    // that the target was compiled from
	OnHost  int    // that this machine has
	Stale   string // why a file of it is not what the target was built from
	OnNode  bool   // the node has the main package's file at the path that the target names
	Symbols bool   // a stripped target's symbols have been built
}

// Host is this machine.
type Host struct {
	Rsync    string // the path of the one that is used, "" for none
	RsyncErr error  // why there is none
}

// Examine judges the facts.
func Examine(f Facts) Report {
	var r Report
	blocked := false
	for _, s := range stages() {
		for _, check := range s.checks {
			c := check.judge(f)
			c.Name = check.name
			if blocked {
				c = Check{Name: check.name, Status: Skipped, Found: "not looked at"}
			}
			r.Checks = append(r.Checks, c)
		}
		if f.Err != nil && slices.Contains(s.codes, diag.CodeOf(f.Err)) {
			blocked = true
		}
	}
	if f.Err != nil && !blocked { // of no stage
		c := failedCheck(f.Err, "")
		c.Name = "dapbridge"
		r.Checks = slices.Insert(r.Checks, 0, c)
	}
	return r
}

// stage is what fails by the errors of some codes, and then keeps later stages
// from being looked at.
type stage struct {
	codes  []diag.Code
	checks []check
}

type check struct {
	name  string
	judge func(Facts) Check
}

// failed is a check that an error has ended.
func failedCheck(err error, why string) Check {
	return Check{Status: Failed, Found: err.Error(), Why: why, Remedy: diag.Hint(err)}
}
