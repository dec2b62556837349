//go:build unix

package config

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// othersWrite says why somebody else than this user and root can change a file,
// or returns "". The group counts as somebody else, as for ssh's configuration.
func othersWrite(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Sprintf("it belongs to another user (%d)", st.Uid)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Sprintf("other users may write to it (mode %04o)", mode)
	}
	return ""
}
