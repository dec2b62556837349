package vscode_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/vscode"
)

func TestWriteForbidden(t *testing.T) {
	dir := t.TempDir()
	path := putLaunch(t, dir, "{}")
	if err := os.Chmod(filepath.Dir(path), 0o555); err != nil {
		t.Fatal(err)
	}
	_, changed, err := asNobody(t, func() (string, bool, error) { return vscode.Write(dir, containerd()) })
	if changed || diag.CodeOf(err) != diag.WriteFailed || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("changed %v, %v", changed, err)
	}
	if got := string(readFile(t, path)); got != "{}" {
		t.Errorf("the file is now %s", got)
	}
}

// asNobody calls write with the file rights of an unprivileged user when this
// process is root's, which may write everywhere.
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
