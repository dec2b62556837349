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

// gateScript starts a command in the background, which waits for a line on descriptor 3
// before it runs, and prints its pid. If the process at the other end dies before it
// writes that line, the command never runs. The shell exits at once, so that init
// becomes the command's parent and reaps it. Descriptor 4 is the command's output.
const gateScript = `{ read -r go <&3 && exec "$@" 3<&- 4>&-; } </dev/null >&4 2>&4 &
echo $!`

// Daemon is a program for [Ledger.Start].
type Daemon struct {
	Name   string   // its name in the ledger
	Argv   []string // the program and its arguments
	Env    []string // added to this process's environment
	Output *os.File // receives standard output and error
	Cgroup string   // the cgroup v2 directory to start in; "" for this process's
}

// Start starts d in its own session, without input, and records it before its program
// runs. The process outlives this one.
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

// AddProcess records a running process.
func (l *Ledger) AddProcess(name string, pid int) error {
	start, _, err := StartTime(pid)
	if err != nil {
		return fmt.Errorf("record process %d (%s): %w", pid, name, err)
	}
	return l.Add(Entry{Kind: Process, Name: name, PID: pid, Start: start})
}

// StartTime returns the start time of a process in clock ticks since boot, and the
// letter of its state (proc_pid_stat(5)).
func StartTime(pid int) (start uint64, state byte, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field, the name in parentheses, may contain spaces.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// Alive reports whether the process with that pid and start time still runs. A zombie
// does not.
func Alive(pid int, start uint64) bool {
	got, state, err := StartTime(pid)
	return err == nil && got == start && state != 'Z' && state != 'X'
}

// kill kills a process and waits until it has ended. It opens a pidfd before it
// compares the start time, so that the pid cannot be reused in between.
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
		return nil // it has ended, and the pid may have been reused
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
