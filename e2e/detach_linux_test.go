package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestDetachHot repeatedly detaches from a running containerd with a hot breakpoint
// whose condition is false. Plain Delve killed 24 of 40 targets in this way.
func TestDetachHot(t *testing.T) {
	f := setup(t)
	s := f.serve(t, "--log-level", "warn")
	pid := f.containerd(t)
	f.load(t)
	args := dap.SetBreakpointsArguments{
		Source:      dap.Source{Path: f.file(versionFile)},
		Breakpoints: []dap.SourceBreakpoint{{Line: f.lineOf(t, versionFile, versionCode), Condition: "1 == 2"}},
	}
	start := time.Now()
	detaches := testenv.Rounds(t, 10)
	for i := range detaches {
		hotSession(t, s, args)
		if tracer, err := f.node.TracerPid(t.Context(), pid); err != nil || tracer != 0 {
			t.Fatalf("after %d detaches containerd is traced by %d (%v)", i+1, tracer, err)
		}
		if (i+1)%5 == 0 {
			f.waitFree(t, pid, 0)
		}
	}
	t.Logf("%d sessions in %s, containerd alive after each", detaches, time.Since(start).Round(time.Second))
	f.checkWorks(t, "")
}

// hotSession attaches, sets the breakpoint while containerd runs, lets it be hit, and
// disconnects.
func hotSession(t *testing.T, s *server, args dap.SetBreakpointsArguments) {
	t.Helper()
	ctx := short(t)
	c := s.dial(t)
	defer c.Close()
	if _, err := c.Attach(ctx, dapclient.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(ctx, "setBreakpoints", args); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // some dozens of hits
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
}

// TestDetachInAnInjectedCall ends the session while an injected call is halted at a
// breakpoint in the callee: the call completes before the target is released.
func TestDetachInAnInjectedCall(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *server, *dapclient.Client){
		"disconnect": func(t *testing.T, _ *server, c *dapclient.Client) {
			if err := c.Disconnect(short(t), false); err != nil {
				t.Error(err)
			}
		},
		"the IDE is gone":    func(_ *testing.T, _ *server, c *dapclient.Client) { c.Close() },
		"the daemon is gone": func(_ *testing.T, s *server, _ *dapclient.Client) { s.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			pid := f.containerd(t)
			s := f.serve(t)
			c := s.dial(t)
			pod := haltInCall(t, f, c)
			end(t, s, c)
			f.waitFree(t, pid, 15*time.Second)
			f.waitPod(t, pod)
			f.waitFree(t, pid, 0)
		})
	}
}

// A method of the CRI server, which haltInCall calls, and a line of it.
const (
	called     = "call c.getContainerRootDir(r.PodSandboxId)"
	calledFile = "internal/cri/server/helpers.go"
	calledCode = "return filepath.Join(c.config.RootDir, containersDir, id)"
)

// haltInCall halts the target in CreateContainer, injects a call, and halts in the
// callee. The pod waits meanwhile.
func haltInCall(t *testing.T, f *fixture, c *dapclient.Client) (pod string) {
	t.Helper()
	ctx := short(t)
	pod, stop := stopInCreateContainer(t, f, c, f.lineOf(t, createContainerFile, createContainerCode))
	frames, _, err := c.StackTrace(ctx, stop.ThreadId, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	line := f.lineOf(t, calledFile, calledCode)
	if _, err := c.SetBreakpoints(ctx, f.file(calledFile), []int{line}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send("evaluate", dap.EvaluateArguments{Expression: called, FrameId: frames[0].Id, Context: "repl"}); err != nil {
		t.Fatal(err)
	}
	stop, err = c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err = c.StackTrace(ctx, stop.ThreadId, 0, 2)
	if err != nil || len(frames) < 2 || frames[0].Line != line || !strings.Contains(frames[1].Name, "debugCall") {
		t.Fatalf("halted in %s, %v; want line %d", describe(frames), err, line)
	}
	return pod
}

func describe(frames []dap.StackFrame) string {
	var s strings.Builder
	for _, fr := range frames {
		fmt.Fprintf(&s, "%s:%d ", fr.Name, fr.Line)
	}
	return s.String()
}
