package vscode_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/vscode"
)

func TestWriteForbidden(t *testing.T) {
	dir := t.TempDir()
	path := putLaunch(t, dir, "{}")
	if err := os.Chmod(filepath.Dir(path), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Dir(path), 0o755) }) // or only root can remove it
	_, changed, err := asNobody(t, func() (string, bool, error) { return vscode.Write(dir, containerd()) })
	checkWriteFails(t, changed, err)
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v, want fs.ErrPermission", err)
	}
	if got := string(readFile(t, path)); got != "{}" {
		t.Errorf("the file is now %s", got)
	}
}

// asNobody calls write with the file system permissions of an unprivileged user if
// this process runs as root, which may write anywhere.
func asNobody(t *testing.T, write func() (string, bool, error)) (path string, changed bool, err error) {
	if os.Geteuid() != 0 {
		return write()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if e := syscall.Setfsuid(65534); e != nil {
			t.Error(e)
			return
		}
		path, changed, err = write()
	}()
	<-done
	return path, changed, err
}
