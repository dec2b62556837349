//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// accessOfOthers are the permissions of everybody but the owner.
const accessOfOthers = 0o077

// isOurs reports whether the file belongs to this user.
func isOurs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
