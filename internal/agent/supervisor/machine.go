//go:build linux

package supervisor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
)

func (s *supervisor) describeMachine(ctx context.Context) (api.Machine, error) {
	var m api.Machine
	var err error
	if m.System, err = procfs.ReadMachine(ctx); err != nil {
		return m, err
	}
	program, err := os.Executable()
	if err != nil {
		return m, err
	}
	m.Dir = filepath.Dir(filepath.Dir(program))
	var fs unix.Statfs_t
	if err := unix.Statfs(m.Dir, &fs); err != nil {
		return m, err
	}
	m.Free = int64(fs.Bfree) * int64(fs.Bsize)
	m.Rsync, _ = exec.LookPath("rsync")
	if err := traceChild(); err != nil {
		m.NoTracing = err.Error()
	}
	if p, err := procfs.Find(ctx, s.cfg.Selector); err == nil {
		m.Frozen = procfs.IsFrozen(p.PID)
	}
	return m, nil
}

// traceChild starts this program under ptrace and kills it before its first
// instruction: only the kernel can tell whether it permits tracing.
func traceChild() error {
	runtime.LockOSThread() // the tracer is a thread (ptrace(2))
	defer runtime.UnlockOSThread()
	child := exec.Command("/proc/self/exe", "version")
	child.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := child.Start(); err != nil {
		return err
	}
	child.Process.Kill()
	child.Wait() // its status only says that it was killed
	return nil
}
