package demo

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// sudoShim takes the place of sudo on the demo's node, since the demo needs no root.
const sudoShim = `#!/bin/sh
while [ $# -gt 0 ]; do
	case "$1" in
	-n) shift ;;
	--) shift; break ;;
	*) break ;;
	esac
done
exec "$@"
`

// commands runs the commands of SSH sessions and keeps track of their processes.
type commands struct {
	home string // the working directory and $HOME
	env  []string
	log  *slog.Logger

	mu      sync.Mutex
	groups  map[int]struct{} // process groups of commands
	running map[*process]struct{}
	closed  bool
}

func newCommands(dir string, log *slog.Logger) (*commands, error) {
	c := &commands{home: filepath.Join(dir, "home"), log: log, groups: map[int]struct{}{}, running: map[*process]struct{}{}}
	bin := filepath.Join(dir, "bin")
	err := errors.Join(os.MkdirAll(c.home, 0o700), os.MkdirAll(bin, 0o700),
		os.WriteFile(filepath.Join(bin, "sudo"), []byte(sudoShim), 0o700))
	path := bin
	for _, kv := range (&exec.Cmd{}).Environ() {
		if old, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = bin + string(os.PathListSeparator) + old
			continue
		}
		c.env = append(c.env, kv)
	}
	c.env = append(c.env, "PATH="+path, "HOME="+c.home)
	return c, err
}

// session serves one channel: one exec request, and signals to its command. It
// returns once the command has ended and the channel is closed.
func (c *commands) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	var run *process
	var wg sync.WaitGroup
	for r := range requests {
		ok, p := false, struct{ Text string }{}
		switch err := ssh.Unmarshal(r.Payload, &p); {
		case r.Type == "exec" && err == nil && run == nil:
			run = c.start(p.Text)
			ok = run != nil
		case r.Type == "signal" && err == nil && run != nil:
			ok = run.signal(p.Text)
		}
		if r.WantReply {
			_ = r.Reply(ok, nil) // a lost connection ends requests
		}
		switch {
		case r.Type == "exec" && ok:
			wg.Go(func() { c.finish(ch, run) })
		case r.Type == "exec" && run == nil:
			_ = ch.Close()
		}
	}
	if run == nil {
		_ = ch.Close()
	}
	wg.Wait()
}

// process is a running command with our ends of its streams.
type process struct {
	cmd         *exec.Cmd
	stdin       io.WriteCloser
	stdout, err *os.File
}

// start runs command in a session and process group of its own, or returns nil.
func (c *commands) start(command string) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	run, err := startProcess(command, c.env, c.home)
	if err != nil {
		c.log.Debug("demo ssh: exec", "err", err)
		return nil
	}
	c.log.Debug("demo ssh: exec", "pid", run.cmd.Process.Pid, "command", command)
	c.groups[run.cmd.Process.Pid] = struct{}{}
	c.running[run] = struct{}{}
	return run
}

// startProcess runs command in a session of its own.
func startProcess(command string, env []string, dir string) (*process, error) {
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, outR.Close())
	}
	defer errW.Close()
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Env, cmd.Dir = env, dir
	cmd.Stdout, cmd.Stderr = outW, errW
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, outR.Close(), errR.Close())
	}
	return &process{cmd, stdin, outR, errR}, nil
}

// finish relays the streams and reports the exit status. Like sshd, it closes the
// channel only once no process holds the output any more, which may be later.
func (c *commands) finish(ch ssh.Channel, run *process) {
	var in, out sync.WaitGroup
	in.Go(func() {
		_, _ = io.Copy(run.stdin, ch) // either end may be closed
		_ = run.stdin.Close()
	})
	for from, to := range map[*os.File]io.Writer{run.stdout: ch, run.err: ch.Stderr()} {
		out.Go(func() {
			_, _ = io.Copy(to, from)
			_ = from.Close() // a process that still writes gets EPIPE
		})
	}
	_ = run.cmd.Wait() // ProcessState has the result
	sendExit(ch, run.cmd.ProcessState.Sys().(syscall.WaitStatus))
	out.Wait()
	_ = ch.Close()
	in.Wait()
	c.mu.Lock()
	delete(c.running, run)
	if !groupExists(run.cmd.Process.Pid) {
		delete(c.groups, run.cmd.Process.Pid)
	}
	c.mu.Unlock()
}

// sendExit sends the exit status or signal as in RFC 4254, section 6.10. It ignores
// a lost connection.
func sendExit(ch ssh.Channel, status syscall.WaitStatus) {
	if !status.Signaled() {
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status.ExitStatus())}))
		return
	}
	_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
		Signal     string
		Core       bool
		Error, Tag string
	}{strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG"), status.CoreDump(), "", ""}))
}

// signal sends the named signal to the command's process group.
func (p *process) signal(name string) bool {
	sig := unix.SignalNum("SIG" + name)
	return sig != 0 && syscall.Kill(-p.cmd.Process.Pid, sig) == nil
}

// shutdown refuses further commands, gives those that are running the grace period
// to end by themselves, and kills the rest.
func (c *commands) shutdown(grace time.Duration) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	defer c.closeOutputs()
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for c.signalAll(0) {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.signalAll(syscall.SIGKILL)
			return
		}
	}
}

// signalAll sends sig, unless it is 0, to every process group that still has a
// process, and reports whether there is one.
func (c *commands) signalAll(sig syscall.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	any := false
	for pgid := range c.groups {
		if !groupExists(pgid) {
			delete(c.groups, pgid)
			continue
		}
		any = true
		if sig != 0 {
			_ = syscall.Kill(-pgid, sig) // it may have ended meanwhile
		}
	}
	return any
}

// closeOutputs closes the outputs, which a process outside our groups may still hold.
func (c *commands) closeOutputs() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for run := range c.running {
		_ = errors.Join(run.stdout.Close(), run.err.Close()) // ends the copying goroutines
	}
}

func groupExists(pgid int) bool { return syscall.Kill(-pgid, 0) == nil }
