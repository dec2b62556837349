//go:build linux

package swap

import (
	"slices"
)

// The stages of a record: how far the last run is known to have got.
const (
	stageKept     = "kept"     // the original was copied, nothing was changed
	stageSwapping = "swapping" // the original, the new build or a state between them may be in place
	stageDeployed = "deployed" // the new build serves
)

// record is what is known of a changed unit: enough to undo everything. It is stored
// beside the copy of the original.
type record struct {
	Version  int      `json:"version"`
	Stage    string   `json:"stage"`
	Unit     string   `json:"unit"`
	Path     string   `json:"path"`
	Original File     `json:"original"`
	Argv     []string `json:"argv"`    // the command line before any change
	Sockets  []string `json:"sockets"` // sockets and addresses on which it answered health checks
	Builds   []string `json:"builds"`  // SHA-256 of each build of ours that may be at Path
	settings
	// Before holds the settings at the beginning of a run that is swapping.
	Before settings `json:"before,omitzero"`
}

// settings are the changes to units.
type settings struct {
	Args    []string `json:"args,omitempty"`
	Relaxed bool     `json:"relaxed,omitempty"`
	DropIns []dropIn `json:"dropIns,omitempty"` // written, or about to be
}

const recordVersion = 2

// isKnown reports whether a file is the original or a build of ours. Any other was put
// in place by somebody else, for example by an upgrade.
func (r *record) isKnown(f File) bool {
	return f.SHA256 == r.Original.SHA256 || slices.Contains(r.Builds, f.SHA256)
}

// effectiveSettings returns the settings to go back to if a run fails: those of a run
// that was killed do not count.
func (r *record) effectiveSettings() settings {
	if r.Stage == stageSwapping {
		return r.Before
	}
	return r.settings
}
