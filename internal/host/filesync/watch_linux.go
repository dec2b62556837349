package filesync

import (
	"errors"
	"syscall"
)

// watchRemedy returns the command that lets more directories be watched, "" if err has
// another cause (inotify(7)).
func watchRemedy(err error) string {
	if errors.Is(err, syscall.ENOSPC) {
		return "sudo sysctl fs.inotify.max_user_watches=524288"
	}
	return ""
}
