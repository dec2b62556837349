package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// failure is how dapbridge fails: exit status, and parts of the error and the hint.
type failure struct {
	status int
	says   string // part of the line that begins with "error: "
	hint   string // part of the line that begins with "hint: "
}

// differs says how a failure differs from want, or "".
func (want failure) differs(status int, says, hint string) string {
	switch {
	case status != want.status:
		return fmt.Sprintf("exit status %d, want %d", status, want.status)
	case !strings.HasPrefix(says, "error: "), !strings.Contains(says, want.says):
		return fmt.Sprintf("want error: …%s…", want.says)
	case !strings.HasPrefix(hint, "hint: "), !strings.Contains(hint, want.hint):
		return fmt.Sprintf("want hint: …%s…", want.hint)
	case strings.Contains(hint, "\n"):
		return "more output than error and hint"
	}
	return ""
}

// runFailing runs dapbridge, checks that it fails as expected with no further output,
// and returns the hint.
func (f *fixture) runFailing(t *testing.T, want failure, args ...string) (hint string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return checkFails(t, f.command(ctx, userUID, args...), want)
}

func checkFails(t *testing.T, cmd *exec.Cmd, want failure) (hint string) {
	t.Helper()
	hint, _ = checkFailsOutput(t, cmd, want)
	return hint
}

// checkFailsOutput is checkFails that also returns the output.
func checkFailsOutput(t *testing.T, cmd *exec.Cmd, want failure) (hint, said string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	status := 0
	if exit, ok := err.(*exec.ExitError); ok {
		status = exit.ExitCode()
	}
	text := string(out)
	if i := strings.LastIndex("\n"+text, "\nerror: "); i >= 0 {
		text = text[i:] // progress and log lines may come before it
	}
	says, hint, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\n")
	if why := want.differs(status, says, hint); why != "" {
		t.Errorf("dapbridge %s: %s\n%s", strings.Join(cmd.Args[1:], " "), why, out)
	}
	return hint, string(out)
}

// checkLists checks that dapbridge ps reaches the node.
func checkLists(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "containerd.service") {
		t.Errorf("dapbridge %s: %v\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
}

// between returns the text after one string and before another.
func between(t *testing.T, text, after, before string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, after)
	part, _, ended := strings.Cut(rest+"\n", before)
	if !found || !ended {
		t.Fatalf("no %q…%q in %q", after, before, text)
	}
	return part
}

// TestTargetMessages has `serve` refuse each kind of target that cannot be debugged,
// before anything is done to it.
func TestTargetMessages(t *testing.T) {
	f := setupAll(t)
	pid := f.containerd(t)
	serve := func(args ...string) []string {
		return append(append([]string{"serve", "--listen", "127.0.0.1:0"}, f.nodeArgs()...), args...)
	}
	t.Run("none", func(t *testing.T) {
		f.runFailing(t, failure{4, "no process with an executable named nosuchd", "dapbridge ps"}, serve("--target", "nosuchd")...)
	})
	t.Run("gone", func(t *testing.T) {
		f.runFailing(t, failure{4, "no process to debug: process 4194000 has ended", "dapbridge ps"}, serve("--pid", "4194000")...)
	})
	t.Run("namesakes", func(t *testing.T) { // containerd is neither a shim nor what only has its name
		f.checkWorks(t, "")
		f.run(t, "containerd")
		if s := f.serve(t); s.target != pid {
			t.Errorf("the target is pid %d, containerd is %d", s.target, pid)
		}
	})
	t.Run("not Go", func(t *testing.T) {
		f.runFailing(t, failure{4, "not a Go program", "dapbridge ps"}, serve("--target", "systemd")...)
	})
	t.Run("several", func(t *testing.T) {
		first, second := f.run(t, "twind"), f.run(t, "twind")
		inside := f.startContained(t, "twind")
		for pid, where := range map[int]string{first: "no unit", second: "no unit", inside: "in a container"} {
			f.runFailing(t, failure{4, fmt.Sprintf("%d (%s, since 20", pid, where), "--pid PID"}, serve("--target", "twind")...)
		}
		if s := f.serve(t, "--pid", strconv.Itoa(second)); s.target != second {
			t.Errorf("the target is pid %d, want %d", s.target, second)
		}
	})
	t.Run("another dapbridge", func(t *testing.T) {
		s := f.serve(t)
		c := s.dial(t)
		if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		hostname, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		f.runFailing(t, failure{4, fmt.Sprintf("another dapbridge: pid %d of nobody on %s, listening on %s", s.cmd.Process.Pid, hostname, s.addr), "end the other dapbridge"}, serve()...)
		if err := c.Disconnect(short(t), false); err != nil {
			t.Error(err)
		}
	})
	t.Run("traced by dlv", func(t *testing.T) {
		victim := f.run(t, "victimd")
		tracer := f.traceByDelve(t, victim)
		f.runFailing(t, failure{4, fmt.Sprintf("pid %d is traced by pid %d (%s attach %d", victim, tracer, delveOnNode, victim), "end the other debugger first"},
			serve("--target", "victimd")...)
	})
	f.waitFree(t, pid, 5*time.Second)
}

// run builds a small idle Go program, starts it on the node under the name until the
// test ends, and returns its pid there.
func (f *fixture) run(t *testing.T, name string, flags ...string) int {
	t.Helper()
	bin := filepath.Join(f.node.RootFS(), programs, name)
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bin); err != nil {
		build := exec.Command("go", slices.Concat([]string{"build", "-o", bin}, flags, []string{"../internal/exe/exetest/testdata/sleeper"})...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return f.start(t, name)
}

// startContained starts a program in a pid namespace of its own, as in a container,
// until the test ends, and returns its pid on the node.
func (f *fixture) startContained(t *testing.T, name string) int {
	t.Helper()
	unshare := f.startLine(t, "exec unshare --pid --fork --kill-child "+programs+name)
	var pid int
	eventually(t, 5*time.Second, func() string {
		out, err := f.node.Exec(t.Context(), "cat", fmt.Sprintf("/proc/%d/task/%d/children", unshare, unshare))
		if err != nil {
			return err.Error()
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			return "it has no child"
		}
		return f.whyNotRunning(t, pid, name)
	})
	return pid
}

// whyNotRunning returns what the process on the node runs instead of the program, or "".
func (f *fixture) whyNotRunning(t *testing.T, pid int, name string) string {
	if exe, _ := f.node.Exec(t.Context(), "readlink", fmt.Sprintf("/proc/%d/exe", pid)); strings.TrimSpace(string(exe)) != programs+name {
		return fmt.Sprintf("pid %d runs %s", pid, exe)
	}
	return ""
}

// programs is the directory on the node for programs of the tests.
const programs = "/usr/local/lib/e2e/"

// start starts an installed program on the node until the test ends, and returns its pid
// there.
func (f *fixture) start(t *testing.T, name string) int {
	t.Helper()
	pid := f.startLine(t, "exec "+programs+name)
	eventually(t, 5*time.Second, func() string { return f.whyNotRunning(t, pid, name) })
	return pid
}

// startLine runs a shell command on the node in the background until the test ends, and
// returns the pid of the shell there.
func (f *fixture) startLine(t *testing.T, line string) int {
	t.Helper()
	// Some programs exit at the end of their standard input; this one has no end.
	script := "mkdir -p /run/e2e; [ -p /run/e2e/never ] || mkfifo /run/e2e/never; { " + line + "; } <>/run/e2e/never >/dev/null 2>&1 & echo $!"
	out, err := f.node.Exec(t.Context(), "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.node.Exec(context.WithoutCancel(t.Context()), "kill", "-9", strconv.Itoa(pid)) })
	return pid
}

// traceByDelve attaches plain dlv on the node until the test ends, and returns its pid.
func (f *fixture) traceByDelve(t *testing.T, pid int) int {
	t.Helper()
	f.installDelve(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.node.Exec(ctx, delveOnNode, "attach", strconv.Itoa(pid), "--headless", "--listen=127.0.0.1:0")
	}()
	t.Cleanup(func() { stop(); <-done })
	var tracer int
	eventually(t, 20*time.Second, func() string {
		var err error
		if tracer, err = f.node.TracerPid(t.Context(), pid); err != nil || tracer == 0 {
			return fmt.Sprintf("dlv does not trace: %v", err)
		}
		return ""
	})
	return f.process(t, tracer)
}

// process returns the pid of the process that a thread on the node belongs to.
func (f *fixture) process(t *testing.T, tid int) int {
	t.Helper()
	out, err := f.node.Exec(t.Context(), "sed", "-n", `s/^Tgid:\s*//p`, fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestNodeMessages makes the node unusable in each way, and follows the hint where it
// names a command.
func TestNodeMessages(t *testing.T) {
	f := setupAll(t)
	addr := f.node.SSHAddr()
	args := func(node string, more ...string) []string { return append([]string{"ps", "--node", node}, more...) }
	withKey := []string{"--allow-non-local", "--identity", f.node.KeyFile()}
	bySSH := func() []string { return args("ssh://docker@"+addr, withKey...) }

	t.Run("no profile", func(t *testing.T) {
		f.runFailing(t, failure{3, "minikube has no profile nowhere", "--node minikube:" + f.node.Name()}, args("minikube:nowhere")...)
	})
	t.Run("not local", func(t *testing.T) {
		f.runFailing(t, failure{3, "neither a loopback address nor a minikube profile", "--allow-non-local"}, args("ssh://docker@"+addr, "--identity", f.node.KeyFile())...)
	})
	t.Run("unreachable", func(t *testing.T) {
		f.runFailing(t, failure{3, "connection refused", "check that the node is running"}, args("ssh://docker@"+freePort(t), "--identity", f.node.KeyFile())...)
	})
	t.Run("unreachable minikube", func(t *testing.T) {
		home := filepath.Join(f.dir, "stopped", ".minikube")
		if err := os.Mkdir(filepath.Dir(home), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(filepath.Dir(home)) })
		if err := testbed.WriteProfile(t.Context(), home, testbed.Profile{Name: "stopped", IP: "127.99.0.1", Owner: userUID}); err != nil {
			t.Fatal(err)
		}
		cmd := f.command(t.Context(), userUID, "ps")
		cmd.Env = append(cmd.Env, "MINIKUBE_HOME="+home)
		checkFails(t, cmd, failure{3, "127.99.0.1:22: connection refused", "minikube status -p stopped"})
	})
	t.Run("timed out", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody speaks
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		f.runFailing(t, failure{3, "no answer within 10s", "check that the node is running"}, args("ssh://docker@"+silent.Addr().String(), "--identity", f.node.KeyFile())...)
	})
	t.Run("unknown host key", func(t *testing.T) {
		f.knownHosts(t, "")
		hint := f.runFailing(t, failure{3, "the host key of " + addr + " is not known", "ssh-keyscan"}, bySSH()...)
		f.userShell(t, between(t, hint, "store the key: ", "\n"))
		checkLists(t, f.command(t.Context(), userUID, bySSH()...))
	})
	t.Run("wrong key", func(t *testing.T) {
		f.knownHosts(t, f.node.KnownHostsLine())
		f.runFailing(t, failure{3, "accepts none of these keys for the user docker", "--identity FILE"},
			args("ssh://docker@"+addr, "--allow-non-local", "--identity", f.otherKey(t))...)
	})
	t.Run("changed host key", func(t *testing.T) {
		other, err := os.ReadFile(f.otherKey(t) + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(addr)
		f.knownHosts(t, host+" "+string(other))
		hint := f.runFailing(t, failure{3, "has changed", "somebody may be intercepting"}, bySSH()...)
		f.userShell(t, between(t, hint, "remove the old key: ", ";"))
		f.runFailing(t, failure{3, "is not known", "ssh-keyscan"}, bySSH()...)
	})
	t.Run("changed pin", func(t *testing.T) {
		checkLists(t, f.command(t.Context(), userUID, args("minikube:"+f.node.Name())...))
		pins := filepath.Join(f.home, ".local", "state", "dapbridge", "pinned_hosts")
		before := testenv.ReadFile(t, pins)
		other := strings.Fields(testenv.ReadFile(t, f.otherKey(t)+".pub"))
		lines := strings.Split(before, "\n")
		for i, line := range lines {
			if fields := strings.Fields(line); len(fields) == 5 {
				lines[i] = strings.Join(append(fields[:3], other[:2]...), " ")
			}
		}
		testenv.WriteFile(t, pins, strings.Join(lines, "\n"))
		t.Cleanup(func() { testenv.WriteFile(t, pins, before) })
		// The node has an address of this machine: the changed key is accepted, with one warning.
		for _, warns := range []bool{true, false} {
			out, err := f.command(t.Context(), userUID, args("minikube:"+f.node.Name())...).CombinedOutput()
			if err != nil || strings.Contains(string(out), "host key has changed") != warns || !strings.Contains(string(out), "containerd.service") {
				t.Errorf("warns %v: %v\n%s", warns, err, out)
			}
		}
	})
	t.Run("no sudo", func(t *testing.T) {
		const rule = "/etc/sudoers.d/docker"
		f.root(t, "mv "+rule+" /root/docker.sudoers")
		t.Cleanup(func() {
			f.root(t, "rm -f /etc/sudoers.d/dapbridge; mv /root/docker.sudoers "+rule)
		})
		hint := f.runFailing(t, failure{3, "the user docker has no passwordless sudo", "run as root on the node: "}, args("minikube:"+f.node.Name())...)
		f.root(t, between(t, hint, "run as root on the node: ", "\n"))
		checkLists(t, f.command(t.Context(), userUID, args("minikube:"+f.node.Name())...))
	})
}

// TestSudoWantsTerminal has sudo on the node require a terminal, and follows the hint.
func TestSudoWantsTerminal(t *testing.T) {
	f := setupAll(t)
	ps := append([]string{"ps"}, f.nodeArgs()...)
	f.root(t, "echo 'Defaults requiretty' > /etc/sudoers.d/aaa")
	t.Cleanup(func() { f.root(t, "rm -f /etc/sudoers.d/aaa /etc/sudoers.d/dapbridge-tty") })
	hint := f.runFailing(t, failure{3, "sudo requires a terminal for the user docker", "run as root on the node: "}, ps...)
	f.root(t, between(t, hint, "run as root on the node: ", "\n"))
	checkLists(t, f.command(t.Context(), userUID, ps...))
}

// root runs a shell command on the node as root.
func (f *fixture) root(t *testing.T, line string) {
	t.Helper()
	if _, err := f.node.Exec(context.WithoutCancel(t.Context()), "sh", "-ec", line); err != nil {
		t.Fatal(err)
	}
}

// userShell runs a shell command on the host as the user.
func (f *fixture) userShell(t *testing.T, line string) {
	t.Helper()
	cmd := f.command(t.Context(), userUID)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-ec", line}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// knownHosts gives the user a known_hosts file until the test ends.
func (f *fixture) knownHosts(t *testing.T, lines string) {
	t.Helper()
	dir := filepath.Join(f.home, ".ssh")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(file, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		if err := os.Chown(path, userUID, userUID); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
}

// otherKey makes a key pair that the user can read and the node does not accept.
func (f *fixture) otherKey(t *testing.T) string {
	t.Helper()
	key := filepath.Join(f.home, "other-key")
	if _, err := os.Stat(key); err == nil {
		return key
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Chown(key, userUID, userUID); err != nil {
		t.Fatal(err)
	}
	return key
}

// TestPtraceRefused forbids tracing on the node: without the capability, so that not
// even the target can be read, or by a seccomp filter on ptrace. Either applies to what
// the agent's sudo starts, or the filter to the whole node, as to a container.
func TestPtraceRefused(t *testing.T) {
	f := setupAll(t)
	pid := f.containerd(t)
	t.Run("capability", func(t *testing.T) {
		f.sudo(t, "setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace")
		f.runFailing(t, failure{4, "the agent lacks the capability CAP_SYS_PTRACE", "--cap-add SYS_PTRACE"}, append([]string{"serve", "--listen", "127.0.0.1:0"}, f.nodeArgs()...)...)
	})
	t.Run("seccomp", func(t *testing.T) {
		f.sudo(t, "systemd-run --quiet --pipe --wait --collect -p SystemCallFilter=~ptrace -p SystemCallErrorNumber=EPERM")
		s := f.serve(t)
		c := s.dial(t)
		_, err := c.Attach(short(t), dapclient.AttachOptions{})
		if err == nil || !strings.Contains(err.Error(), "forbids tracing") || !strings.Contains(err.Error(), "a seccomp filter is in force") {
			t.Errorf("attach: %v", err)
		}
	})
	f.waitFree(t, pid, 5*time.Second)
	t.Run("the node's container", func(t *testing.T) {
		g := *f
		var err error
		g.node, err = testbed.Up(t.Context(), testbed.Options{Name: nodeName() + "-filter", Owner: userUID, NoKubelet: true, SystemCallFilter: "~ptrace"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := g.node.Down(); err != nil {
				t.Error(err)
			}
		})
		c := g.serve(t).dial(t)
		_, err = c.Attach(short(t), dapclient.AttachOptions{})
		if err == nil || !strings.Contains(err.Error(), "forbids tracing") || !strings.Contains(err.Error(), "a seccomp filter is in force") {
			t.Errorf("attach: %v", err)
		}
	})
}

// sudo makes sudo on the node start commands through a program until the test ends.
func (f *fixture) sudo(t *testing.T, through string) {
	t.Helper()
	wrapper := filepath.Join(f.node.RootFS(), "usr/local/bin/sudo")
	script := "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec /usr/bin/sudo -n -- " + through + " \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(wrapper) })
}

// TestListenMessages uses each kind of address that cannot be listened on. Invalid ones
// are refused before the node is contacted.
func TestListenMessages(t *testing.T) {
	f := setup(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f.runFailing(t, failure{5, "listen on " + taken.Addr().String(), "choose another address with --listen"}, append([]string{"serve", "--listen", taken.Addr().String()}, f.nodeArgs()...)...)
	s := f.serve(t) // whose process the user may look at
	f.runFailing(t, failure{5, fmt.Sprintf("pid %d (%s serve ", s.cmd.Process.Pid, f.bin), fmt.Sprintf("kill %d", s.cmd.Process.Pid)},
		append([]string{"serve", "--listen", s.addr}, f.nodeArgs()...)...)
	for _, addr := range []string{"0.0.0.0:0", ":2345", "[::]:0", f.node.IP() + ":2345", "example.com:80"} {
		f.runFailing(t, failure{2, "is not a loopback address", "--listen 127.0.0.1:PORT"},
			"serve", "--listen", addr, "--node", "ssh://docker@"+freePort(t), "--identity", f.node.KeyFile())
	}
	f.runFailing(t, failure{2, "unknown flag: --nonsense", "dapbridge serve --help"}, "serve", "--nonsense")
}

// TestStrangers connects as another user, a browser, and a peer without a process on
// this machine: all are refused, and the running session goes on.
func TestStrangers(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	c := s.dial(t)
	if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		uid  int
		says string
		log  string
		gone bool // closes its connection before anybody looks at it
	}{
		"another user": {otherUID, string(dapclient.Frame([]byte(`{"seq":1,"type":"request","command":"initialize"}`))), "belongs to user", false},
		"HTTP":         {userUID, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", "HTTP", false},
		// So the daemon sees a peer in another network namespace, behind a forwarder: no
		// process of this machine has its address.
		"nobody": {userUID, "Content-", "as with a container, WSL2 or a forwarded port; use a unix socket (--listen unix:PATH)", true},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.gone { // the kernel accepts for it
				s.cmd.Process.Signal(syscall.SIGSTOP)
				defer s.cmd.Process.Signal(syscall.SIGCONT)
				eventually(t, 5*time.Second, unless("it has not stopped yet", func() bool {
					stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
					return strings.Contains(string(stat), ") T ")
				}))
			}
			conn, err := dialAs(tt.uid, s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(conn, tt.says)
			if tt.gone {
				conn.Close()
				s.cmd.Process.Signal(syscall.SIGCONT)
			} else if got, err := io.ReadAll(conn); len(got) > 0 || os.IsTimeout(err) {
				t.Errorf("answered %q (%v)", got, err)
			}
			eventually(t, 5*time.Second, func() string {
				if strings.Contains(s.log.String(), tt.log) {
					return ""
				}
				return "no line in the log"
			})
		})
	}
	if _, err := c.Threads(short(t)); err != nil {
		t.Errorf("the session under way: %v", err)
	}
	if err := c.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
}

// TestPs lists the targets on the node, as text and as JSON.
func TestPs(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	ps := func(args ...string) string {
		out, err := f.command(t.Context(), userUID, append(append([]string{"ps"}, f.nodeArgs()...), args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	var list []api.Candidate
	if err := json.Unmarshal([]byte(ps("-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(c api.Candidate) bool { return c.Process.PID == pid })
	if i < 0 {
		t.Fatalf("containerd, pid %d, is not listed", pid)
	}
	c := list[i]
	if !c.Main || c.Process.Unit != "containerd.service" || c.Build.Stripped || c.Build.ModulePath != "github.com/containerd/containerd/v2" ||
		!strings.HasPrefix(c.Build.GoVersion, "go1.") {
		t.Errorf("containerd: %+v %+v", c.Process, c.Build)
	}
	// containerd's own makefile leaves the main package optimised, see parts.Make.
	if o := c.Optimisation; o == nil || o.Packages < 300 || o.Optimised == 0 || o.Optimised > o.Packages/2 || !o.Main {
		t.Errorf("optimisation: %+v", o)
	}
	for _, line := range strings.Split(ps(), "\n") {
		if fields := strings.Fields(line); len(fields) < 6 || fields[0] != strconv.Itoa(pid) {
			continue
		}
		for _, want := range []string{" containerd ", " containerd.service ", " " + c.Build.GoVersion + " ", " github.com/containerd/containerd/v2", " yes ",
			fmt.Sprintf(" %d of %d packages ", c.Optimisation.Optimised, c.Optimisation.Packages)} {
			if !strings.Contains(line, want) {
				t.Errorf("no %q in containerd's line: %q", want, line)
			}
		}
		return
	}
	t.Error("no line for containerd")
}

// TestVersion prints what is in the program, for a user without anything else.
func TestVersion(t *testing.T) {
	f := setup(t)
	out, err := f.command(t.Context(), userUID, "version").CombinedOutput()
	if err != nil || !regexp.MustCompile(`^dapbridge \S+\nDelve v1\.\S+, go1\.\S+, linux/\S+, agent protocol \d+\n$`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}
