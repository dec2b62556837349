package filesync

import (
	"errors"
	"syscall"
)

// watchRemedy says what to do when a directory can't be watched (inotify(7)).
func watchRemedy(err error) string {
	if errors.Is(err, syscall.ENOSPC) {
		return "sudo sysctl fs.inotify.max_user_watches=524288"
	}
	return ""
}
