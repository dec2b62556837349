//go:build linux

package swap

import (
	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// spare is what stays free of a file system that something is put on, in bytes.
const spare = 16 << 20

// volatile says why what is written in a directory does not outlive a reboot, ""
// if it does. The error is diag.DeployRefused if nothing can be written there.
func findVolatility(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", err
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return "", diag.Errorf(diag.DeployRefused, "%s is on a file system that is mounted read-only", dir).
			WithHint("if the node lets you, mount it writable and deploy again; otherwise dapbridge symbols needs no other build on the node")
	}
	switch int64(st.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return dir + " is in memory", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		// Of a container (minikube's docker driver), or of a live system over
		// its memory: only the first outlives a restart.
		return dir + " is in the layer of an overlay, which goes with the container, or with a live system's memory", nil
	}
	return "", nil
}

// room refuses a directory that has not so many bytes left.
func checkSpace(dir string, size int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < size+spare {
		return diag.Errorf(diag.DeploySpace, "%s has %d MB left, and %d MB are needed", dir, free>>20, (size+spare)>>20)
	}
	return nil
}
