// Package doctor judges whether a node, its target and the host are fit for a debug
// session, and names a remedy for each problem. [Run] gathers the facts, [Examine]
// judges them and inspects nothing itself.
package doctor

import (
	"slices"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Status is the result of a check.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // a session works, with the limits that the check names
	Failed  Status = "error"   // a session will not work
	Skipped Status = "skipped" // an earlier check must pass first
)

// Check is one check and its result.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Why    string `json:"why,omitempty"`    // why it matters; empty if the check is OK
	Remedy string `json:"remedy,omitempty"` // what to type or do; empty if the check is OK
}

// Report lists all checks; each comes after those that it depends on.
type Report struct {
	Checks []Check `json:"checks"`
}

// ExitStatus returns 0 if there is no problem, 1 if there are only warnings and 2
// if there is an error.
func (r Report) ExitStatus() int {
	status := 0
	for _, c := range r.Checks {
		switch c.Status {
		case Warning:
			status = max(status, 1)
		case Failed:
			status = 2
		}
	}
	return status
}

// Facts are the findings that the checks judge. If a stage fails, Err holds its error and
// the facts of all later stages are zero.
type Facts struct {
	Node  Node
	Err   error // why the facts end here; nil if they are complete
	Agent *Agent

	// About the target; all zero if TargetErr says why there is none.
	Target       *api.Process
	Build        *exe.Build
	TargetErr    error
	TracerErr    error // names the target's other tracer
	Optimisation *exe.Optimisation
	GoWarning    string // what does not work with the target's Go version, "" if all does

	Source Source
	Host   Host
}

// Node is the node as the host names and reaches it.
type Node struct {
	Name  string
	Local bool   // nobody else depends on it
	Why   string // why Local is true or false
}

// Agent is what the agent found on the node.
type Agent struct {
	Platform       string // linux/amd64
	Root           string // how the agent became root: "sudo", or "" if the SSH user is root
	System         string
	Kernel         string
	CgroupV2       bool
	Obstacles      []string // kernel settings that may forbid tracing
	TracingFailure string   // why tracing a child failed, "" if it worked
	Frozen         bool     // whether the target's cgroup is frozen
	Dir            string   // the agent's directory
	Free           int64    // bytes free in Dir
	Rsync          string   // path of rsync, "" if there is none
	Kubelet        *api.Kubelet
}

// Source describes the target's source on host and node.
type Source struct {
	Root    string // where it was looked for on the host
	Problem string // why Root lacks the main module, "" if it has it
	Files   int    // number of files that the target was compiled from
	OnHost  int    // how many of them the host has
	Stale   string // why a file of the host differs from what the target was built from
	OnNode  bool   // the node has the main package's file at the path that the target names
	Symbols bool   // a stripped target's symbols have been built
	Command string // the command that builds its symbols
}

// Host is the developer's machine.
type Host struct {
	Rsync    string // path of rsync, "" if there is none
	RsyncErr error  // why there is none
}

// Examine judges the facts.
func Examine(f Facts) Report {
	var r Report
	blocked := false
	for _, s := range stages() {
		for _, check := range s.checks {
			c := check.judge(f)
			if blocked {
				c = skippedCheck()
			}
			c.Name = check.name
			r.Checks = append(r.Checks, c)
		}
		if f.Err != nil && slices.Contains(s.codes, diag.CodeOf(f.Err)) {
			blocked = true
		}
	}
	if f.Err != nil && !blocked { // belongs to no stage
		c := failedCheck(f.Err, "")
		c.Name = "dapbridge"
		r.Checks = slices.Insert(r.Checks, 0, c)
	}
	return r
}

// stage is a group of checks. An error with one of the codes fails them, and all
// later stages are skipped.
type stage struct {
	codes  []diag.Code
	checks []check
}

type check struct {
	name  string
	judge func(Facts) Check
}

// failedCheck is a check that failed with err.
func failedCheck(err error, why string) Check {
	return Check{Status: Failed, Found: err.Error(), Why: why, Remedy: diag.Hint(err)}
}
