// Package target finds the processes that can be debugged on a node and reads
// what they are: unit, executable, build information, threads, text.
//
// It runs as root, over /proc, and trusts none of it: every file there and
// every executable may have been written by somebody who wants to crash the
// reader, so reads are bounded and a malformed file is an error. Nothing here
// stops or traces a process. On other systems than Linux all that reads /proc
// returns diag.Unsupported; ReadBuildFile works everywhere.
package target

import "time"

// Selector says which process is meant. The zero value means containerd.
type Selector struct {
	Name string // base name of the executable, "containerd" if empty
	PID  int    // wins over Name unless 0
}

// Executable is the base name of the executable that is looked for when there
// is no PID.
func (s Selector) Executable() string {
	if s.Name == "" {
		return "containerd"
	}
	return s.Name
}

// Process is one process as it was when it was read.
type Process struct {
	PID        int       `json:"pid"`
	StartTime  time.Time `json:"startTime"`
	StartTicks uint64    `json:"startTicks"`           // since boot; with PID it names a process for good
	Exe        string    `json:"exe"`                  // as the process itself sees it, without " (deleted)"
	ExeDeleted bool      `json:"exeDeleted,omitempty"` // the file was removed or replaced since
	Unit       string    `json:"unit,omitempty"`       // systemd unit that it runs in, "" if none
	Args       []string  `json:"args"`
	UID        uint32    `json:"uid"`              // effective
	NSPids     []int     `json:"nsPids,omitempty"` // outermost first; more than one inside a pid namespace
	Parent     int       `json:"parent"`
}

// inContainer reports whether p runs in a pid namespace below ours.
func (p Process) inContainer() bool { return len(p.NSPids) > 1 }
