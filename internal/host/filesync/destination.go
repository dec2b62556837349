package filesync

import (
	"path"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// CheckDestination refuses a directory on a node that must not hold a copy: a path that
// is not absolute and clean, or a system directory unless force is set. The receiver
// checks what can be seen only on the node.
func CheckDestination(dir string, force bool) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
		return diag.Errorf(diag.SyncRefused, "cannot copy to %q: not an absolute path below /", dir)
	}
	first, _, _ := strings.Cut(dir[1:], "/")
	system := []string{"etc", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "boot", "proc", "sys", "dev", "run"}
	if slices.Contains(system, first) && !force {
		return diag.Errorf(diag.SyncRefused, "cannot copy to %s: it is in the system directory /%s", dir, first)
	}
	return nil
}

// CheckDerivedDestination is CheckDestination for a directory that the user did not name:
// it comes from the target's executable, or from the path map of an untrusted workspace.
// So it must not be in a hidden directory either, where programs look for code to run
// (~/.config, ~/.local/bin).
func CheckDerivedDestination(dir string) error {
	if i := strings.Index(dir, "/."); i >= 0 && path.Clean(dir) == dir {
		return diag.Errorf(diag.SyncRefused, "cannot copy to %s: it is in a hidden directory and was not given explicitly", dir).
			WithHint("to copy there anyway, pass it as --to")
	}
	return CheckDestination(dir, false)
}
