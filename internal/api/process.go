package api

import (
	"path"
	"strings"
	"time"

	"github.com/dapbridge/dapbridge/internal/exe"
)

// Candidate is a process that could be debugged.
type Candidate struct {
	Process      Process           `json:"process"`
	Build        *exe.Build        `json:"build"`
	Optimisation *exe.Optimisation `json:"optimisation,omitempty"` // nil if stripped or not readable
	Main         bool              `json:"main"`                   // the main process of its systemd service
}

// Selector selects a process. The zero value selects containerd.
type Selector struct {
	Name string // base name of the executable, "containerd" if empty
	PID  int    // takes precedence over Name unless 0
}

// Executable returns the base name of the executable to select if PID is 0.
func (s Selector) Executable() string {
	if s.Name == "" {
		return "containerd"
	}
	return s.Name
}

// Process describes a process at the time when it was read.
type Process struct {
	PID        int       `json:"pid"`
	StartTime  time.Time `json:"startTime"`
	StartTicks uint64    `json:"startTicks"`           // since boot; with PID it identifies a process uniquely
	Exe        string    `json:"exe"`                  // as the process itself sees it, without " (deleted)"
	ExeDeleted bool      `json:"exeDeleted,omitempty"` // the file was removed or replaced since
	Unit       string    `json:"unit,omitempty"`       // systemd unit that it belongs to, "" if none
	Args       []string  `json:"args"`
	UID        uint32    `json:"uid"`              // effective
	NSPids     []int     `json:"nsPids,omitempty"` // outermost first; more than one inside a pid namespace
	Parent     int       `json:"parent"`
}

// InContainer reports whether p runs in a pid namespace below ours.
func (p Process) InContainer() bool { return len(p.NSPids) > 1 }

// IsUnit reports whether name can be the name of a unit with processes; see
// systemd.unit(5). Pods choose the names of their cgroups, and systemctl fails for all
// units of a command if it rejects the name of one.
func IsUnit(name string) bool {
	const valid = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"
	if len(name) > 255 || strings.Trim(name, valid) != "" {
		return false
	}
	switch path.Ext(name) {
	case ".service", ".scope", ".socket", ".mount", ".swap":
		return true
	}
	return false
}

// ServiceOf returns the unit that usually runs the executable with that name.
func ServiceOf(name string) string {
	if name == "dockerd" {
		return "docker.service"
	}
	return name + ".service"
}
