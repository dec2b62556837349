package rsync

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/remote/remotetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestMain is rsync's remote shell if rsync starts it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "rsh" {
		if err := RunShell(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// newTransfer returns a Transfer from dir to another directory, both in a directory with
// a name that a shell or rsync could misread. stage is the stage's path in the latter.
func newTransfer(t *testing.T) (tr *Transfer, dir, stage string) {
	t.Helper()
	if _, err := Find(t.Context()); err != nil {
		testenv.Skipf(t, "%v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	odd := filepath.Join(t.TempDir(), "it's $HOME; a*b")
	link := filepath.Join(odd, "dap bridge's")
	dir, top := filepath.Join(odd, "host"), filepath.Join(odd, "node")
	for _, d := range []string{dir, filepath.Join(top, ".stage")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return &Transfer{Self: link, Node: remotetest.Local{}, Top: top}, dir, ".stage"
}

func random(n int) []byte {
	text := make([]byte, n)
	_, _ = rand.Read(text)
	return text
}

// TestSend sends a large file as a difference, although its size and time are those on
// the node, and files with any names.
func TestSend(t *testing.T) {
	tr, dir, stage := newTransfer(t)
	large := random(8 << 20)
	testenv.WriteFile(t, filepath.Join(tr.Top, "d/large"), large)
	copy(large[4<<20:], "one line is another")
	testenv.WriteFile(t, filepath.Join(dir, "d/large"), large)
	at := time.Now().Add(-time.Hour)
	for _, d := range []string{dir, tr.Top} {
		if err := os.Chtimes(filepath.Join(d, "d/large"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{
		"d/large", "-e sh x", "#comment", ";comment", "new\nline", "bad\xff", " space ", "a*b?[c]", "back\\slash", "~", "--x=y",
		"deep/" + strings.Repeat("d/", 50) + "f", "node:f", "'", `"`, "$(touch x)", ".f", "..f",
	}
	for _, name := range names[1:] {
		testenv.WriteFile(t, filepath.Join(dir, name), []byte("content of "+name))
	}
	for _, compress := range []bool{false, true} {
		n, err := tr.Send(t.Context(), dir, stage, append(names, "gone"), compress)
		if err != nil {
			t.Errorf("compressed %v: %v", compress, err)
		}
		if n < 1000 || n > 200_000 {
			t.Errorf("compressed %v: %d bytes were sent, want between 1,000 and 200,000", compress, n)
		}
		for _, name := range names {
			want, _ := os.ReadFile(filepath.Join(dir, name))
			if got, err := os.ReadFile(filepath.Join(tr.Top, stage, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q: %d bytes, %v", name, len(got), err)
			}
		}
		if err := os.RemoveAll(filepath.Join(tr.Top, stage)); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(tr.Top, stage), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCheckCommand accepts only the expected command.
func TestCheckCommand(t *testing.T) {
	tr := &Transfer{Top: "/home/docker/copy"}
	good := []string{"node", "rsync", "--server", "-IRe.LsfxCIvu", "--copy-dest", "..", ".", "staged"}
	got, err := tr.checkCommand(good, ".s", false)
	if want := "rsync --server -IRe.LsfxCIvu --copy-dest .. . /home/docker/copy/.s/"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	with := func(i int, word string) []string {
		argv := append([]string{}, good...)
		argv[i] = word
		return argv
	}
	for _, bad := range [][]string{
		nil, {"node"}, {"node", "sh", "-c", "id"}, good[1:], append(good[:len(good):len(good)], "x"),
		with(1, "sh"), with(1, "/tmp/rsync"), with(2, "--daemon"), with(2, "--sender"), with(7, "/etc"), with(6, "/"), with(5, "/root"),
		with(3, "-IRze.LsfxCIvu"), with(3, "-IRse.LsfxCIvu"), with(3, "-IRe.Lsf --x"), with(3, "-IRe.L\nx"), with(3, "--rsh=sh"), with(4, "--log-file"),
		with(3, "-IRe.iLsfxCIvu;id"), with(3, "-vIRe.LsfxCIvu"),
	} {
		if got, err := tr.checkCommand(bad, ".s", false); diag.CodeOf(err) != diag.NoRsync {
			t.Errorf("%q runs %q: got %v, want a NoRsync error", bad, got, err)
		}
	}
}

// TestShellIsRefused checks that nothing runs for a remote shell that asks for anything
// else.
func TestShellIsRefused(t *testing.T) {
	tr := &Transfer{Top: "/x", Node: remotetest.Local{OnStart: func(p *os.Process) { t.Errorf("process %d was started", p.Pid) }}}
	for _, request := range []string{"[\"node\",\"sh\"]\n", "no JSON\n", "{}\n", "", strings.Repeat("x", 2*maxArgv), "[\"node\",\"rsync\""} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write([]byte(request))
			theirs.Close()
		}()
		if _, err := tr.serve(t.Context(), ours, ".s", false); err == nil {
			t.Errorf("%.40q was accepted", request)
		}
		ours.Close()
	}
}

// TestShellExits checks that a command that keeps writing ends after the remote shell has
// exited.
func TestShellExits(t *testing.T) {
	tr := &Transfer{Top: "/x", Node: endlessNode{remotetest.Local{}}}
	ours, theirs := net.Pipe()
	go func() {
		_, _ = theirs.Write([]byte(`["node","rsync","--server","-IRe.LsfxCIvu","--copy-dest","..",".","staged"]` + "\n"))
		_, _ = theirs.Read(make([]byte, 100))
		theirs.Close()
	}()
	if n, err := tr.serve(t.Context(), ours, ".s", false); err == nil || n == 0 {
		t.Errorf("got %d bytes, %v, want some and an error", n, err)
	}
}

// endlessNode is a node where every command writes without end.
type endlessNode struct{ remote.Conn }

func (e endlessNode) Start(ctx context.Context, _ []string) (*remote.Cmd, error) {
	return e.Conn.Start(ctx, []string{"yes"})
}

// TestNoRsyncIsRemembered checks that errors that every call would meet are remembered,
// and no others.
func TestNoRsyncIsRemembered(t *testing.T) {
	tr, dir, stage := newTransfer(t)
	testenv.WriteFile(t, filepath.Join(dir, "f"), []byte("x"))
	checkFails := func(what string, code diag.Code, reason string) {
		t.Helper()
		_, err := tr.Send(t.Context(), dir, stage, []string{"f"}, false)
		if diag.CodeOf(err) != code || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: got %v, want code %s and %q", what, err, code, reason)
		}
		if code == diag.NoRsync && diag.Hint(err) == "" {
			t.Errorf("%s: %v has no hint", what, err)
		}
	}
	top := tr.Top
	tr.Top = filepath.Join(top, "none")
	checkFails("no directory", diag.Internal, "No such file")
	tr.Top = top
	if _, err := tr.Send(t.Context(), dir, stage, []string{"f"}, false); err != nil {
		t.Errorf("after a failure: %v", err)
	}
	self := tr.Self
	tr.Self = "/none"
	checkFails("no remote shell", diag.Internal, "remote shell")
	tr.Self = self
	tr.Node = bareNode{tr.Node}
	checkFails("no rsync on the node", diag.NoRsync, "the node has no rsync")
	tr.Node = remotetest.Local{}
	checkFails("remembered", diag.NoRsync, "the node has no rsync")

	t.Setenv("PATH", t.TempDir())
	tr, dir = &Transfer{}, t.TempDir()
	checkFails("no rsync on the host", diag.NoRsync, "this machine has no rsync")
}

// bareNode is a node without rsync.
type bareNode struct{ remote.Conn }

func (r bareNode) Start(ctx context.Context, argv []string) (*remote.Cmd, error) {
	return r.Conn.Start(ctx, append([]string{"env", "PATH=/none"}, argv...))
}

// TestKilled checks that Send returns and leaves no process when either side's rsync or
// the remote shell is killed, or ctx ends.
func TestKilled(t *testing.T) {
	hostRsync := func(t *testing.T, node *os.Process) int { return child(t, os.Getpid(), node.Pid) }
	for name, kill := range map[string]func(t *testing.T, node *os.Process, stop func()){
		"the node's rsync": func(_ *testing.T, node *os.Process, _ func()) { node.Kill() },
		"the host's rsync": func(t *testing.T, node *os.Process, _ func()) { syscall.Kill(hostRsync(t, node), syscall.SIGKILL) },
		"the shell": func(t *testing.T, node *os.Process, _ func()) {
			syscall.Kill(child(t, hostRsync(t, node), 0), syscall.SIGKILL)
		},
		"the context": func(_ *testing.T, _ *os.Process, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			tr, dir, stage := newTransfer(t)
			testenv.WriteFile(t, filepath.Join(dir, "f"), random(64<<20))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			started := make(chan *os.Process, 1)
			tr.Node = remotetest.Local{OnStart: func(p *os.Process) { started <- p }}
			ended := make(chan error, 1)
			go func() { _, err := tr.Send(ctx, dir, stage, []string{"f"}, false); ended <- err }()
			node := <-started
			waitForFiles(t, filepath.Join(tr.Top, stage))
			kill(t, node, stop)
			select {
			case err := <-ended:
				if err == nil || diag.CodeOf(err) == diag.NoRsync {
					t.Errorf("got %v, want an error that is not remembered", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("Send does not return")
			}
			for end := time.Now().Add(time.Minute); node.Signal(nil) == nil; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the node's rsync is still there")
				}
			}
		})
	}
}

// waitForFiles blocks until a directory has entries.
func waitForFiles(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			return
		}
	}
	t.Fatalf("%s is still empty", dir)
}

// child returns a child process of pid other than other.
func child(t *testing.T, pid, other int) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		text, _ := os.ReadFile(name)
		var id, parent int
		rest := text[bytes.LastIndexByte(text, ')')+1:] // the name may hold anything
		if _, err := fmt.Sscanf(filepath.Base(filepath.Dir(name)), "%d", &id); err != nil {
			continue
		}
		if _, err := fmt.Sscanf(string(rest), " %1s %d", new(string), &parent); err == nil && parent == pid && id != other {
			return id
		}
	}
	t.Fatalf("process %d has no such child", pid)
	return 0
}

// TestNodeIgnoresEnd checks that Send returns, and ends the node's command, when the
// command does not notice that the host's rsync has exited.
func TestNodeIgnoresEnd(t *testing.T) {
	testenv.SkipShort(t, "it takes long")
	t.Parallel()
	tr, dir, stage := newTransfer(t)
	testenv.WriteFile(t, filepath.Join(dir, "f"), []byte("x"))
	tr.Node = deafNode{remotetest.Local{}, t}
	ended := make(chan error, 1)
	go func() { _, err := tr.Send(t.Context(), dir, stage, []string{"f"}, false); ended <- err }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error for a transfer that was cut off")
		}
	case <-time.After(time.Minute):
		t.Error("Send does not return")
	}
}

// deafNode is a node where every command neither reads nor ends until it is closed. When one
// has started, the host's rsync is killed.
type deafNode struct {
	remote.Conn
	t *testing.T
}

func (d deafNode) Start(ctx context.Context, _ []string) (*remote.Cmd, error) {
	var node *os.Process
	cmd, err := remotetest.Local{OnStart: func(p *os.Process) { node = p }}.Start(ctx, []string{"sleep", "300"})
	if err == nil {
		syscall.Kill(child(d.t, os.Getpid(), node.Pid), syscall.SIGKILL)
		cmd.Process = killOnClose{cmd.Process, node}
	}
	return cmd, err
}

type killOnClose struct {
	remote.Process
	node *os.Process
}

func (c killOnClose) Close() { c.node.Kill(); c.Process.Close() }
