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

// TestMain is rsync's remote shell if rsync has started it.
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

// transfer returns one of a directory to another, both in directories with names
// that a shell or rsync could misread. stage is the path there of its directory.
func transfer(t *testing.T) (transfer *Transfer, dir, stage string) {
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

// TestSend brings a large file by its difference, though size and time are as on
// the node, and files of any name.
func TestSend(t *testing.T) {
	tr, dir, stage := transfer(t)
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
		if err != nil || n < 1000 || n > 200_000 {
			t.Errorf("compressed %v: %d bytes, %v", compress, n, err)
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

// TestCommand runs nothing but what is expected.
func TestCommand(t *testing.T) {
	tr := &Transfer{Top: "/home/docker/copy"}
	good := []string{"node", "rsync", "--server", "-IRe.LsfxCIvu", "--copy-dest", "..", ".", "staged"}
	got, err := tr.checkCommand(good, ".s", false)
	if want := "rsync --server -IRe.LsfxCIvu --copy-dest .. . /home/docker/copy/.s/"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q, %v", got, err)
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
			t.Errorf("%q runs %q: %v", bad, got, err)
		}
	}
}

// TestShellRefused ends a remote shell that asks for something else, and runs
// nothing.
func TestShellRefused(t *testing.T) {
	tr := &Transfer{Top: "/x", Node: remotetest.Local{OnStart: func(p *os.Process) { t.Errorf("process %d was started", p.Pid) }}}
	for _, said := range []string{"[\"node\",\"sh\"]\n", "no JSON\n", "{}\n", "", strings.Repeat("x", 2*maxArgv), "[\"node\",\"rsync\""} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write([]byte(said))
			theirs.Close()
		}()
		if _, err := tr.serve(t.Context(), ours, ".s", false); err == nil {
			t.Errorf("%.40q was served", said)
		}
		ours.Close()
	}
}

// TestShellGone ends a command that writes on though nobody reads, when the remote
// shell has gone.
func TestShellGone(t *testing.T) {
	tr := &Transfer{Top: "/x", Node: endless{remotetest.Local{}}}
	ours, theirs := net.Pipe()
	go func() {
		_, _ = theirs.Write([]byte(`["node","rsync","--server","-IRe.LsfxCIvu","--copy-dest","..",".","staged"]` + "\n"))
		_, _ = theirs.Read(make([]byte, 100))
		theirs.Close()
	}()
	if n, err := tr.serve(t.Context(), ours, ".s", false); err == nil || n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// endless is a node where each command writes for ever.
type endless struct{ remote.Conn }

func (e endless) Start(ctx context.Context, _ []string) (*remote.Cmd, error) {
	return e.Conn.Start(ctx, []string{"yes"})
}

// TestUnfit tells what can't work from what may work again.
func TestUnfit(t *testing.T) {
	tr, dir, stage := transfer(t)
	testenv.WriteFile(t, filepath.Join(dir, "f"), []byte("x"))
	fails := func(what string, code diag.Code, words string) {
		t.Helper()
		_, err := tr.Send(t.Context(), dir, stage, []string{"f"}, false)
		if diag.CodeOf(err) != code || !strings.Contains(err.Error(), words) || code == diag.NoRsync && diag.Hint(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	top := tr.Top
	tr.Top = filepath.Join(top, "none")
	fails("no directory", diag.Internal, "No such file")
	tr.Top = top
	if _, err := tr.Send(t.Context(), dir, stage, []string{"f"}, false); err != nil {
		t.Errorf("after a failure: %v", err)
	}
	self := tr.Self
	tr.Self = "/none"
	fails("no remote shell", diag.Internal, "remote shell")
	tr.Self = self
	tr.Node = without{tr.Node}
	fails("none on the node", diag.NoRsync, "the node has no rsync")
	tr.Node = remotetest.Local{}
	fails("it is remembered", diag.NoRsync, "the node has no rsync")

	t.Setenv("PATH", t.TempDir())
	tr, dir = &Transfer{}, t.TempDir()
	fails("none here", diag.NoRsync, "this machine has no rsync")
}

// without is a node without rsync.
type without struct{ remote.Conn }

func (w without) Start(ctx context.Context, argv []string) (*remote.Cmd, error) {
	return w.Conn.Start(ctx, append([]string{"env", "PATH=/none"}, argv...))
}

// TestKilled returns when either side's rsync is killed, or the caller gives up, and
// leaves no process.
func TestKilled(t *testing.T) {
	here := func(t *testing.T, node *os.Process) int { return child(t, os.Getpid(), node.Pid) }
	for name, kill := range map[string]func(t *testing.T, node *os.Process, stop func()){
		"the node's rsync": func(_ *testing.T, node *os.Process, _ func()) { node.Kill() },
		"the host's":       func(t *testing.T, node *os.Process, _ func()) { syscall.Kill(here(t, node), syscall.SIGKILL) },
		"the shell": func(t *testing.T, node *os.Process, _ func()) {
			syscall.Kill(child(t, here(t, node), 0), syscall.SIGKILL)
		},
		"the caller": func(_ *testing.T, _ *os.Process, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			tr, dir, stage := transfer(t)
			testenv.WriteFile(t, filepath.Join(dir, "f"), random(64<<20))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			started := make(chan *os.Process, 1)
			tr.Node = remotetest.Local{OnStart: func(p *os.Process) { started <- p }}
			ended := make(chan error, 1)
			go func() { _, err := tr.Send(ctx, dir, stage, []string{"f"}, false); ended <- err }()
			node := <-started
			arrives(t, filepath.Join(tr.Top, stage))
			kill(t, node, stop)
			select {
			case err := <-ended:
				if err == nil || diag.CodeOf(err) == diag.NoRsync {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
			for end := time.Now().Add(time.Minute); node.Signal(nil) == nil; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the node's rsync is still there")
				}
			}
		})
	}
}

// arrives waits until something has come into a directory.
func arrives(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			return
		}
	}
	t.Fatal("nothing comes")
}

// child returns a child of pid that is not the other.
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

// TestNodeStays returns, and ends the command, when the node's side does not mind
// that the host's is gone.
func TestNodeStays(t *testing.T) {
	t.Parallel()
	tr, dir, stage := transfer(t)
	testenv.WriteFile(t, filepath.Join(dir, "f"), []byte("x"))
	tr.Node = stays{remotetest.Local{}, t}
	ended := make(chan error, 1)
	go func() { _, err := tr.Send(t.Context(), dir, stage, []string{"f"}, false); ended <- err }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("nothing is said of a transfer that was cut off")
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

// stays is a node where each command neither reads nor ends before it is closed.
// When it has started, the host's rsync is killed.
type stays struct {
	remote.Conn
	t *testing.T
}

func (s stays) Start(ctx context.Context, _ []string) (*remote.Cmd, error) {
	var node *os.Process
	cmd, err := remotetest.Local{OnStart: func(p *os.Process) { node = p }}.Start(ctx, []string{"sleep", "300"})
	if err == nil {
		syscall.Kill(child(s.t, os.Getpid(), node.Pid), syscall.SIGKILL)
		cmd.Process = closable{cmd.Process, node}
	}
	return cmd, err
}

type closable struct {
	remote.Process
	node *os.Process
}

func (c closable) Close() { c.node.Kill(); c.Process.Close() }
