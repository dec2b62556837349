package e2e

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// fails runs dapbridge to its end and sees that it fails with the status, and
// says what is wrong and what to do.
func (f *fixture) fails(t *testing.T, status int, says string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := f.command(ctx, userUID, args...).CombinedOutput()
	got := 0
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ExitCode()
	}
	text := string(out)
	if got != status || !strings.Contains(text, says) || !strings.Contains(text, "error: ") || !strings.Contains(text, "hint: ") {
		t.Errorf("dapbridge %s: exit status %d, want %d and %q:\n%s", strings.Join(args, " "), got, status, says, text)
	}
}

// TestTargetMessages has `serve` refuse each target that can't be debugged,
// before anything is done to it.
func TestTargetMessages(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	serve := func(args ...string) []string {
		return append(append([]string{"serve", "--listen", "127.0.0.1:0"}, f.nodeArgs()...), args...)
	}
	t.Run("none", func(t *testing.T) {
		f.fails(t, 4, "no process", serve("--target", "nosuchd")...)
	})
	t.Run("shim", func(t *testing.T) { // containerd's shims are not containerd
		f.works(t, "")
		s := f.serve(t)
		if s.target != pid {
			t.Errorf("the target is pid %d, containerd is %d", s.target, pid)
		}
	})
	t.Run("gone", func(t *testing.T) {
		f.fails(t, 4, "no process", serve("--pid", "4194000")...)
	})
	t.Run("not Go", func(t *testing.T) {
		f.fails(t, 4, "not a Go program", serve("--target", "systemd")...)
	})
	t.Run("stripped", func(t *testing.T) {
		f.fails(t, 4, "no debug information", serve("--pid", strconv.Itoa(f.run(t, "strippedd")))...)
	})
	t.Run("several", func(t *testing.T) {
		first, second := f.run(t, "twind"), f.run(t, "twind")
		f.fails(t, 4, strconv.Itoa(first), serve("--target", "twind")...)
		f.fails(t, 4, strconv.Itoa(second), serve("--target", "twind")...)
	})
	t.Run("traced", func(t *testing.T) { // by another dapbridge; a plain dlv may leave containerd stopped
		c := f.serve(t).dial(t)
		if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		f.fails(t, 4, "agent worker", serve()...)
		if err := c.Disconnect(short(t), false); err != nil {
			t.Error(err)
		}
	})
	f.free(t, pid, 5*time.Second)
}

// run starts dapbridge's own program, a stripped Go program that does nothing
// while its standard input is open, under another name on the node, and returns
// its pid there.
func (f *fixture) run(t *testing.T, name string) int {
	t.Helper()
	bin := filepath.Join(f.node.RootFS(), "usr/local/bin", name)
	if _, err := os.Stat(bin); err != nil {
		data, err := os.ReadFile(f.bin)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bin, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := f.node.Exec(t.Context(), "sh", "-c", "(sleep 1000 | /usr/local/bin/"+name+" agent supervise --protocol 1 --lease 1h --pid 1) >/dev/null 2>&1 & sleep 0.3; pidof "+name)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(out))[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.node.Exec(context.WithoutCancel(t.Context()), "kill", "-9", strconv.Itoa(pid)) })
	return pid
}

// TestNodeMessages has each way in which the node can't be used.
func TestNodeMessages(t *testing.T) {
	f := setup(t)
	addr := f.node.SSHAddr()
	args := func(node string, more ...string) []string { return append([]string{"ps", "--node", node}, more...) }
	withKey := []string{"--allow-non-local", "--identity", f.node.KeyFile()}

	t.Run("no profile", func(t *testing.T) { f.fails(t, 3, "nowhere", args("minikube:nowhere")...) })
	t.Run("not local", func(t *testing.T) {
		f.fails(t, 3, "--allow-non-local", args("ssh://docker@"+addr, "--identity", f.node.KeyFile())...)
	})
	t.Run("unknown host key", func(t *testing.T) { f.fails(t, 3, "known", args("ssh://docker@"+addr, withKey...)...) })
	t.Run("refused", func(t *testing.T) {
		f.fails(t, 3, "refused", args("ssh://docker@"+freePort(t), "--identity", f.node.KeyFile())...)
	})
	t.Run("wrong key", func(t *testing.T) {
		f.knownHosts(t, f.node.KnownHostsLine())
		f.fails(t, 3, "accept", args("ssh://docker@"+addr, "--allow-non-local", "--identity", f.otherKey(t))...)
	})
	t.Run("changed host key", func(t *testing.T) {
		other, err := os.ReadFile(f.otherKey(t) + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(addr)
		f.knownHosts(t, host+" "+string(other))
		f.fails(t, 3, "known_hosts", args("ssh://docker@"+addr, withKey...)...)
	})
	t.Run("no sudo", func(t *testing.T) {
		const rule = "/etc/sudoers.d/docker"
		if _, err := f.node.Exec(t.Context(), "mv", rule, "/root/docker.sudoers"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := f.node.Exec(context.WithoutCancel(t.Context()), "mv", "/root/docker.sudoers", rule); err != nil {
				t.Error(err)
			}
		})
		f.fails(t, 3, "sudo", args("minikube:"+f.node.Name())...)
	})
}

// knownHosts gives the user a known_hosts file until the test ends.
func (f *fixture) knownHosts(t *testing.T, lines string) {
	t.Helper()
	dir := filepath.Join(f.home, ".ssh")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
}

// otherKey makes a key pair that the user can read and the node does not know.
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

// TestPtraceRefused has the node forbid tracing, in two ways in which a node
// does: the capability is missing, so that the target can't even be read; or a
// seccomp filter refuses ptrace. The agent's sudo is what they are set for.
func TestPtraceRefused(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	t.Run("capability", func(t *testing.T) {
		f.sudo(t, "setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace")
		f.fails(t, 4, "may not be read", append([]string{"serve", "--listen", "127.0.0.1:0"}, f.nodeArgs()...)...)
	})
	t.Run("seccomp", func(t *testing.T) {
		f.sudo(t, "systemd-run --quiet --pipe --wait --collect -p SystemCallFilter=~ptrace -p SystemCallErrorNumber=EPERM")
		s := f.serve(t)
		c := s.dial(t)
		_, err := c.Attach(short(t), dapclient.AttachOptions{})
		if err == nil || !strings.Contains(err.Error(), "forbids tracing") {
			t.Errorf("attach: %v", err)
		}
	})
	f.free(t, pid, 5*time.Second)
}

// sudo puts a program in front of what sudo runs on the node, until the test
// ends.
func (f *fixture) sudo(t *testing.T, through string) {
	t.Helper()
	wrapper := filepath.Join(f.node.RootFS(), "usr/local/bin/sudo")
	script := "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec /usr/bin/sudo -n -- " + through + " \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(wrapper) })
}

// TestListenMessages has each address that can't be used.
func TestListenMessages(t *testing.T) {
	f := setup(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	serve := append([]string{"serve"}, f.nodeArgs()...)
	f.fails(t, 5, taken.Addr().String(), append(serve, "--listen", taken.Addr().String())...)
	f.fails(t, 2, "not a loopback address", append(serve, "--listen", "0.0.0.0:0")...)
	f.fails(t, 2, "unknown flag", append(serve, "--nonsense")...)
}

// TestStrangers has another user, and a browser, try the port: both are turned
// away, and the session that is under way goes on.
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
	}{
		"another user": {otherUID, string(dapclient.Frame([]byte(`{"seq":1,"type":"request","command":"initialize"}`))), "is of user"},
		"HTTP":         {userUID, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", "HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := dialAs(tt.uid, s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(conn, tt.says)
			if got, err := io.ReadAll(conn); len(got) > 0 || os.IsTimeout(err) {
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

// TestPs lists what can be debugged.
func TestPs(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	out, err := f.command(t.Context(), userUID, append([]string{"ps"}, f.nodeArgs()...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] != strconv.Itoa(pid) {
			continue
		}
		want := "containerd containerd.service go1."
		if got := strings.Join(fields[1:4], " "); !strings.HasPrefix(got, want) || !strings.HasPrefix(fields[4], "github.com/containerd/containerd/v2") || fields[5] != "yes" {
			t.Errorf("containerd's line: %q", line)
		}
		return
	}
	t.Errorf("no containerd in the list:\n%s", out)
}
