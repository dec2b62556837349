package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/demo"
	"github.com/dapbridge/dapbridge/internal/host/getsource"
	"github.com/dapbridge/dapbridge/internal/host/serve"
	"github.com/dapbridge/dapbridge/internal/host/srcsync"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestWithoutRoot does what a user with a stripped target does: sessions without symbols,
// symbols, a session with them, a copy of the source on the node, and of the target's own
// source. The node is the demo's SSH server, so that this needs no root and nothing but
// Go.
func TestWithoutRoot(t *testing.T) {
	testenv.SkipShort(t, "it builds the program, a target and its twin")
	p := startStripped(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	for mode, says := range map[string]string{symbols.Ask: "its symbols have not been built", symbols.Never: "its symbols are not to be used"} {
		t.Run(mode, func(t *testing.T) { p.debug(ctx, t, mode, says) })
	}
	t.Run("refuse", func(t *testing.T) {
		c := p.serve(ctx, t)
		_, err := c.Attach(ctx, dapclient.AttachOptions{Args: map[string]any{"symbols": symbols.Refuse}})
		if err == nil || !strings.Contains(err.Error(), "dapbridge symbols") {
			t.Errorf("the session starts, or the refusal does not say what to do: %v", err)
		}
	})
	t.Run("auto, without the source", func(t *testing.T) {
		away := p.node.Root + ".away"
		if err := os.Rename(p.node.Root, away); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(os.RemoveAll(p.node.Root), os.Rename(away, p.node.Root)); err != nil {
				t.Fatal(err)
			}
		}()
		testenv.WriteFile(t, filepath.Join(p.node.Root, "go.mod"), "module example.com/stripped\n\ngo 1.26\n")
		testenv.WriteFile(t, p.source(), strings.Replace(strippedSource, "n + 1", "n + 3", 1))
		p.debug(ctx, t, symbols.Auto, "its symbols cannot be used: ")
	})
	t.Run("symbols", func(t *testing.T) {
		c := p.config(t)
		r, err := symbols.Build(ctx, c.Link, c.Symbols)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Built || !r.Sent || r.Target.PID != p.pid {
			t.Errorf("built %v, sent %v, of pid %d, want pid %d", r.Built, r.Sent, r.Target.PID, p.pid)
		}
	})
	t.Run("session", func(t *testing.T) { p.debug(ctx, t, symbols.Ask, "") })
	t.Run("never, although there are symbols", func(t *testing.T) { p.debug(ctx, t, symbols.Never, "its symbols are not to be used") })
	t.Run("source", func(t *testing.T) {
		c := p.config(t)
		r, err := getsource.Get(ctx, c.Link, getsource.Config{Root: c.Source.Root, Env: os.Environ()})
		if err != nil {
			t.Fatal(err)
		}
		testenv.Equal(t, "the directory", r.Dir, p.node.Root+"@v1.0.0")
		testenv.Equal(t, "the pid", r.Target.PID, p.pid)
		testenv.Equal(t, "main.go", testenv.ReadFile(t, filepath.Join(r.Dir, "main.go")), strippedSource)
	})
	t.Run("sync", func(t *testing.T) {
		to := filepath.Join(t.TempDir(), "copy")
		c := p.config(t)
		s := srcsync.Config{Link: c.Link, Source: c.Source, To: to, RecordDir: t.TempDir()}
		if _, err := srcsync.Run(ctx, s); err != nil {
			t.Fatal(err)
		}
		want := testenv.ReadFile(t, p.source())
		if got := testenv.ReadFile(t, filepath.Join(to, "main.go")); got != want {
			t.Errorf("the copy of main.go is %q, want %q", got, want)
		}
		r, err := srcsync.Verify(ctx, s)
		if err != nil || r.Files == 0 || len(r.Differ) > 0 {
			t.Errorf("verify: %+v, %v", r, err)
		}
	})
}

// strippedSource is a target that any process of the same user may trace.
const strippedSource = `package main

import (
	"io"
	"os"
	"syscall"
	"time"
)

func main() {
	syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PTRACER, ^uintptr(0), 0)
	go func() { io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	for n := 0; ; n++ {
		tick(n)
		time.Sleep(20 * time.Millisecond)
	}
}

//go:noinline
func tick(n int) int {
	return n + 1 // breakpoint
}
`

// strippedTarget is a stripped program that runs, the copy of its source that the
// user has, and the node that both are on.
type strippedTarget struct {
	node    demo.ServeConfig
	program string // dapbridge, built
	cache   string
	pid     int
}

func startStripped(t *testing.T) *strippedTarget {
	t.Helper()
	dir := t.TempDir()
	p := &strippedTarget{program: filepath.Join(dir, "dapbridge"), cache: filepath.Join(dir, "cache")}
	goBuild(t, ".", "-trimpath", "-o", p.program)
	there, here := filepath.Join(dir, "there"), filepath.Join(dir, "here")
	testenv.WriteFile(t, filepath.Join(there, "go.mod"), "module example.com/stripped\n\ngo 1.26\n")
	testenv.WriteFile(t, filepath.Join(there, "main.go"), strippedSource)
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "--all"}, {"commit", "--quiet", "--message=x"}, {"tag", "v1.0.0"}, {"clone", "--quiet", there, here}} {
		runGit(t, there, args...)
	}
	target := filepath.Join(dir, "stripped")
	goBuild(t, there, "-buildvcs=true", "-ldflags=-s -w", "-o", target)
	cmd := exec.Command(target)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the target ended: %v", err)
		}
	})
	var server io.Closer
	if p.node, server, err = demo.StartNode(filepath.Join(dir, "node"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	p.pid = cmd.Process.Pid
	p.node.PID, p.node.Root = p.pid, here
	return p
}

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(testenv.NeedsTool(t, "git"), append([]string{"-c", "user.name=t", "-c", "user.email=t"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// goBuild builds the package in dir without cgo, and unless the arguments say otherwise
// without the stamps of a repository around it.
func goBuild(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "PWD="+dir)
	if dir == "." {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

func (p *strippedTarget) source() string { return filepath.Join(p.node.Root, "main.go") }

// config is the configuration of a daemon for the node, with all its caches below the
// test's directory.
func (p *strippedTarget) config(t *testing.T) serve.Config {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := demoConfig(environment{err: io.Discard, progress: &progress{out: io.Discard}}, log, p.node)
	if err != nil {
		t.Fatal(err)
	}
	c.Link.Agent.File, c.Source.CacheDir = p.program, p.cache
	if c.Symbols, err = (&nodeFlags{}).symbolsConfig(c.Source.Root, p.cache, log); err != nil {
		t.Fatal(err)
	}
	c.Symbols.Twins.ToolExec = []string{p.program, "toolexec"}
	return c
}

// serve runs a daemon until the test ends, and returns a client of it.
func (p *strippedTarget) serve(ctx context.Context, t *testing.T) *dapclient.Client {
	t.Helper()
	run, stop := context.WithCancel(ctx)
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- serve.Run(run, p.config(t), func(r serve.Ready) { ready <- r.Listen }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	var addr string
	select {
	case addr = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	c, err := dapclient.Dial(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// debug is a session that stops at a breakpoint in the user's copy of the source and
// leaves. It has variables, unless the console says why not.
func (p *strippedTarget) debug(ctx context.Context, t *testing.T, mode, why string) {
	c := p.serve(ctx, t)
	before, _, _ := strings.Cut(strippedSource, "// breakpoint")
	line := 1 + strings.Count(before, "\n")
	verified, err := c.Attach(ctx, dapclient.AttachOptions{
		Args: map[string]any{"symbols": mode}, Breakpoints: map[string][]int{p.source(): {line}},
	})
	if err != nil || len(verified[p.source()]) != 1 || !verified[p.source()][0].Verified {
		t.Fatalf("the breakpoint: %+v, %v", verified, err)
	}
	stopped, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := c.StackTrace(ctx, stopped.ThreadId, 0, 1)
	if err != nil || len(frames) != 1 {
		t.Fatalf("the stack: %+v, %v", frames, err)
	}
	if got := frames[0]; got.Line != line || got.Source == nil || got.Source.Path != p.source() {
		t.Errorf("stopped at %+v, want %s:%d", got, p.source(), line)
	}
	n, _, err := c.Evaluate(ctx, frames[0].Id, "n", "watch")
	switch output := c.Output(); {
	case why == "" && (err != nil || n == ""):
		t.Errorf("n is %q, %v", n, err)
	case why != "" && (err == nil || !strings.Contains(err.Error(), "no debug information")):
		t.Errorf("n is %q, %v; want it to be missing", n, err)
	case !strings.Contains(output, why):
		t.Errorf("the console does not say %q:\n%s", why, output)
	}
	if err := c.Disconnect(ctx, false); err != nil {
		t.Error(err)
	}
}
