package srcsync

import (
	"runtime"
	"slices"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/filesync"
)

// Mode says whether a daemon copies the source.
type Mode string

// The modes. The zero value is [Off].
const (
	Auto Mode = "auto" // if this directory was copied to this node before
	On   Mode = "on"
	Off  Mode = "off"
)

// FollowDestination returns the directory on the node that a daemon copies the tree to, ""
// if it must not copy. derived is the tree's directory according to the target's binary,
// "" if that does not say.
func (c Config) FollowDestination(mode Mode, derived string) (string, error) {
	if mode == Off || mode == "" {
		return "", nil
	}
	if runtime.GOOS == "windows" {
		if mode == On {
			return "", diag.Errorf(diag.Unsupported, "syncing from Windows is not supported")
		}
		return "", nil
	}
	var known []string // where the user has copied it before, the latest first
	for _, f := range filesync.ListCopies(c.RecordDir) {
		if f.Dir == c.Source.Root && f.Node == c.Link.SSH.Node.Name {
			known = append(known, f.To)
		}
	}
	switch {
	case derived != "" && slices.Contains(known, derived):
		return derived, filesync.CheckDestination(derived, false)
	case len(known) > 0:
		return known[0], filesync.CheckDestination(known[0], false)
	case mode == Auto:
		return "", nil
	case derived == "":
		return "", diag.Errorf(diag.SyncRefused, "it is not known where on the node %s belongs", c.Source.Root).
			WithHint("copy it once with dapbridge sync --to DIR; from then on serve copies it there")
	}
	return derived, filesync.CheckDerivedDestination(derived)
}
