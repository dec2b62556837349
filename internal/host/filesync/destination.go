package filesync

import (
	"path"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// CheckDestination refuses a directory of a node's that is no place for a copy:
// one that is not named in full, or that belongs to the system unless the user
// insists (force). What can be seen on the node alone, the receiver refuses.
func CheckDestination(dir string, force bool) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
		return diag.Errorf(diag.SyncRefused, "%q is no directory for a copy: it must be an absolute path below /", dir)
	}
	first, _, _ := strings.Cut(dir[1:], "/")
	system := []string{"etc", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "boot", "proc", "sys", "dev", "run"}
	if slices.Contains(system, first) && !force {
		return diag.Errorf(diag.SyncRefused, "%s is the system's: /%s", dir, first)
	}
	return nil
}

// CheckDerivedDestination is CheckDestination for a directory that nobody has typed: the
// target's executable names it, or the map of a workspace that was not trusted. So
// it must not be a hidden one either, where programs look for what they run
// (~/.config, ~/.local/bin).
func CheckDerivedDestination(dir string) error {
	if i := strings.Index(dir, "/."); i >= 0 && path.Clean(dir) == dir {
		return diag.Errorf(diag.SyncRefused, "%s is in a hidden directory, and was not named by you", dir).
			WithHint("if it is the place that you want, name it with --to")
	}
	return CheckDestination(dir, false)
}
