//go:build linux

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// gate starts a command that is held back until a line comes on descriptor 3,
// and prints its number. When whoever holds the other end dies before that
// line is written, the command never runs. The shell ends at once, so the
// command belongs to init and nobody here has to reap it. Descriptor 4 is the
// command's output.
const gateScript = `{ read -r go <&3 && exec "$@" 3<&- 4>&-; } </dev/null >&4 2>&4 &
echo $!`

// Daemon is a program for [Ledger.Start].
type Daemon struct {
	Name   string   // what the ledger calls it
	Argv   []string // the program and its arguments
	Env    []string // added to this process's environment
	Output *os.File // takes standard output and error
	Cgroup string   // the cgroup v2 directory to start in, empty: this process's
}

// Start runs d in a session of its own, without input, and leaves it running:
// it outlives this process. It is recorded before its program runs.
func (l *Ledger) Start(ctx context.Context, d Daemon) (pid int, err error) {
	held, release, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer release.Close()
	defer held.Close()

	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", gateScript, "sh"}, d.Argv...)...)
	cmd.Env = append(os.Environ(), d.Env...)
	cmd.ExtraFiles = []*os.File{held, d.Output}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if d.Cgroup != "" {
		group, err := os.Open(d.Cgroup)
		if err != nil {
			return 0, err
		}
		defer group.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	printed, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", d.Name, err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(printed))); err != nil {
		return 0, fmt.Errorf("start %s: %w", d.Name, err)
	}
	if err := l.AddProcess(d.Name, pid); err != nil {
		return 0, err
	}
	if _, err := release.WriteString("go\n"); err != nil {
		return 0, fmt.Errorf("start %s: %w", d.Name, err)
	}
	return pid, nil
}

// AddProcess records a process that runs already.
func (l *Ledger) AddProcess(name string, pid int) error {
	start, _, err := StartTime(pid)
	if err != nil {
		return fmt.Errorf("record process %d (%s): %w", pid, name, err)
	}
	return l.Add(Entry{Kind: Process, Name: name, PID: pid, Start: start})
}

// StartTime returns when a process started, in clock ticks since boot, and the
// letter of its state, as proc_pid_stat(5) has them.
func StartTime(pid int) (start uint64, state byte, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field, the name in parentheses, may hold spaces.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// Alive tells whether the process that started at start as pid still runs. A
// zombie does not.
func Alive(pid int, start uint64) bool {
	got, state, err := StartTime(pid)
	return err == nil && got == start && state != 'Z' && state != 'X'
}

// kill ends a process and waits for its end. The descriptor is taken before
// the start time is compared, so the number cannot change hands in between.
func kill(pid int, start uint64) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(fd)
	got, _, err := StartTime(pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || (err == nil && got != start) {
		return nil // gone, or another process under the old number
	}
	if err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill: %w", err)
	}
	return waitExit(fd)
}

// waitExit waits until the process behind fd has ended.
func waitExit(fd int) error {
	return pollUntil(func() (bool, error) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return n > 0, err
	})
}
