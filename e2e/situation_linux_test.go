package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// situation brings a new session into a state in which something is about to happen to
// it. It returns the name of the pod that waits for the halted target, or "".
type situation func(*testing.T, *fixture, *dapclient.Client) (pod string)

// haltTarget halts the target where kubelet's call to create a container arrives.
func haltTarget(t *testing.T, f *fixture, c *dapclient.Client) string {
	t.Helper()
	pod, _ := stopInCreateContainer(t, f, c, f.lineOf(t, createContainerFile, createContainerCode))
	return pod
}

// Two lines of one CRI call, which runUnderLoad makes hot.
const (
	instrumentedFile = "internal/cri/instrument/instrumented_service.go"
	instrumentedCode = "in.c.Version("
	versionFile      = "internal/cri/server/version.go"
	versionCode      = "return &runtime.VersionResponse"
)

// runUnderLoad lets the target run under load, with hot breakpoints and one that has not
// been hit yet.
func runUnderLoad(t *testing.T, f *fixture, c *dapclient.Client) string {
	t.Helper()
	f.load(t)
	f.setHot(t, c)
	if _, err := c.SetBreakpoints(short(t), f.file(createContainerFile), []int{f.lineOf(t, createContainerFile, createContainerCode)}); err != nil {
		t.Fatal(err)
	}
	return ""
}

// setHot attaches, sets a breakpoint with a false condition and a logpoint that the load
// hits, and waits for output of the logpoint.
func (f *fixture) setHot(t *testing.T, c *dapclient.Client) {
	t.Helper()
	ctx := short(t)
	if _, err := c.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	for file, bp := range map[string]dap.SourceBreakpoint{
		instrumentedFile: {Line: f.lineOf(t, instrumentedFile, instrumentedCode), LogMessage: "hot"},
		versionFile:      {Line: f.lineOf(t, versionFile, versionCode), Condition: "1 == 2"},
	} {
		args := dap.SetBreakpointsArguments{Source: dap.Source{Path: f.file(file)}, Breakpoints: []dap.SourceBreakpoint{bp}}
		if _, err := c.Request(ctx, "setBreakpoints", args); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, err := c.WaitEvent(ctx, "output", func(b json.RawMessage) bool { return strings.Contains(string(b), "hot") }); err != nil {
			t.Fatal(err)
		}
	}
}

// load has clients call Version of containerd in a loop until the test ends.
func (f *fixture) load(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.node.Exec(ctx, "criload", "-timeout=10m", "version", "100000000", "2")
	}()
	t.Cleanup(func() { stop(); <-done })
}

// sendAttach sends the attach request and does not wait for the response.
func sendAttach(t *testing.T, _ *fixture, c *dapclient.Client) string {
	t.Helper()
	if _, err := c.Initialize(short(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send("attach", map[string]any{"request": "attach", "mode": "remote"}); err != nil {
		t.Fatal(err)
	}
	c.SendRaw(nil) // returns when all is written
	return ""
}

// waitAttach sends the attach request and waits until the target is traced.
func waitAttach(t *testing.T, f *fixture, c *dapclient.Client) string {
	t.Helper()
	pid := f.containerd(t)
	sendAttach(t, f, c)
	f.waitTraced(t, pid)
	return ""
}

// waitTraced waits until containerd has a tracer.
func (f *fixture) waitTraced(t *testing.T, pid int) {
	t.Helper()
	eventually(t, 10*time.Second, func() string {
		if tracer, err := f.node.TracerPid(t.Context(), pid); err != nil || tracer == 0 {
			return "nobody traces containerd"
		}
		return ""
	})
}

// stepOverLongCall starts a step over a call that takes long: it starts a shim and a
// sandbox.
func stepOverLongCall(t *testing.T, f *fixture, c *dapclient.Client) string {
	t.Helper()
	const file, code = "internal/cri/server/sandbox_run.go", "c.sandboxService.StartSandbox("
	ctx := short(t)
	if _, err := c.Attach(ctx, dapclient.AttachOptions{Breakpoints: map[string][]int{f.file(file): {f.lineOf(t, file, code)}}}); err != nil {
		t.Fatal(err)
	}
	pod := f.startPod(t)
	stop, err := c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Next(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	return pod
}

// longCall takes 2 s. This function of wazero is the only sleep in containerd that is
// not optimised.
const longCall = "platform.Nanosleep(2000000000)"

// runInjectedCall starts an injected call that takes some time.
func runInjectedCall(t *testing.T, f *fixture, c *dapclient.Client) string {
	t.Helper()
	pid := f.containerd(t)
	pod, stop := stopInCreateContainer(t, f, c, f.lineOf(t, createContainerFile, createContainerCode))
	frames, _, err := c.StackTrace(short(t), stop.ThreadId, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	call := dap.EvaluateArguments{Expression: "call " + longCall, FrameId: frames[0].Id, Context: "repl"}
	if _, err := c.Send("evaluate", call); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string { return f.stoppedThread(pid) })
	return pod
}

// stoppedThread reports a thread of the process that is stopped, or "" if there is none.
func (f *fixture) stoppedThread(pid int) string {
	states, err := f.node.ThreadStates(context.Background(), pid)
	if err != nil {
		return err.Error()
	}
	for tid, st := range states {
		if st == 'T' || st == 't' {
			return "thread " + strconv.Itoa(tid) + " is stopped"
		}
	}
	return ""
}

// checkWorks checks that containerd serves its clients: that the pod that waited for it
// runs or, without one, that a new pod can be created.
func (f *fixture) checkWorks(t *testing.T, pod string) {
	t.Helper()
	if pod != "" {
		f.waitPod(t, pod)
		return
	}
	eventually(t, 30*time.Second, func() string { // kubelet may remove a pod that it has not created
		if out, err := f.node.Exec(t.Context(), "criload", "-timeout=10s", "create", podName()); err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return ""
	})
}

// checkServes checks that the server serves a session.
func (s *server) checkServes(t *testing.T) {
	t.Helper()
	c := s.dial(t)
	if _, err := c.Attach(short(t), dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// eventually polls until wrong returns "", and fails the test with its last result if
// that takes too long.
func eventually(t testing.TB, within time.Duration, wrong func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		why := wrong()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s still: %s", within, why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// nodeProcess is a process on the node.
type nodeProcess struct {
	pid  int // as the node counts
	argv []string
	fds  int
}

// agentProcesses returns the processes on the node that belong to dapbridge: its own by
// subcommand ("supervise", "worker", "join"), and the SSH logins and sudo processes that
// started them ("sshd", "sudo").
func (f *fixture) agentProcesses(t *testing.T) map[string][]nodeProcess {
	t.Helper()
	found := map[string][]nodeProcess{}
	dirs, err := filepath.Glob(filepath.Join(f.node.RootFS(), "proc", "[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		raw, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(raw) == 0 {
			continue // ended meanwhile, or a zombie
		}
		p := nodeProcess{argv: strings.Split(string(raw), "\x00")}
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
		p.fds = len(fds)
		if kind := p.kind(); kind != "" {
			found[kind] = append(found[kind], p)
		}
	}
	return found
}

func (p nodeProcess) kind() string {
	switch {
	case strings.HasPrefix(p.argv[0], "sshd: docker"), p.argv[0] == "sudo":
		return strings.TrimSuffix(strings.Fields(p.argv[0])[0], ":")
	case len(p.argv) > 2 && p.argv[1] == "agent":
		return p.argv[2]
	}
	return ""
}

// waitDeserted waits until nothing of dapbridge runs on the node.
func (f *fixture) waitDeserted(t *testing.T, within time.Duration) {
	t.Helper()
	eventually(t, within, func() string {
		for kind, left := range f.agentProcesses(t) {
			return kind + " is still running: " + strings.Join(left[0].argv, " ")
		}
		sockets, err := os.ReadFile(filepath.Join(f.node.RootFS(), "proc", "1", "net", "unix"))
		if err != nil {
			return err.Error()
		}
		if strings.Contains(string(sockets), "dapbridge") {
			return "a socket remains"
		}
		return ""
	})
}
