//go:build unix

package config

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// othersCanWrite returns a reason if anybody but this user and root can change the file,
// and otherwise "". Like ssh, it counts group members as others.
func othersCanWrite(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Sprintf("it belongs to another user (%d)", st.Uid)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Sprintf("other users can write to it (mode %04o)", mode)
	}
	return ""
}
