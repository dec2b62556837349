//go:build linux

package swap

import (
	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// spare is how many bytes of a file system are left free.
const spare = 16 << 20

// findVolatility says why files in a directory do not survive a reboot, "" if they do.
// The error's code is diag.DeployRefused if the directory is not writable.
func findVolatility(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", err
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return "", diag.Errorf(diag.DeployRefused, "%s is on a file system that is mounted read-only", dir).
			WithHint("if the node lets you, mount it writable and deploy again; otherwise use dapbridge symbols, which changes nothing on the node")
	}
	switch int64(st.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return dir + " is in memory", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		// It is a container's (minikube's docker driver), or in a live system's memory: only
		// the former survives a restart.
		return dir + " is in an overlay's upper layer, which is lost with the container, or with a live system's memory", nil
	}
	return "", nil
}

// checkSpace refuses a directory whose file system has less than size+spare bytes free.
func checkSpace(dir string, size int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < size+spare {
		return diag.Errorf(diag.DeploySpace, "%s has %d MB left, but %d MB are needed", dir, free>>20, (size+spare)>>20)
	}
	return nil
}
