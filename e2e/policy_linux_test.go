package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestEndOfTargetRefused asks for the end of the target: only the session ends, and
// containerd keeps running.
func TestEndOfTargetRefused(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	for name, tt := range map[string]struct {
		command string
		args    any
	}{
		"disconnect": {"disconnect", map[string]any{"terminateDebuggee": true}},
		"suspend":    {"disconnect", map[string]any{"suspendDebuggee": true}},
		"terminate":  {"terminate", nil},
	} {
		t.Run(name, func(t *testing.T) {
			pid := f.containerd(t)
			i := s.ide(t)
			defer i.Close()
			pod := haltTarget(t, f, i.Client)
			if _, err := i.Request(short(t), tt.command, tt.args); err != nil {
				t.Error(err)
			}
			f.waitFree(t, pid, 5*time.Second)
			f.checkWorks(t, pod)
			s.toldOfTheEnd(t, i.Client, "dapbridge: the target is not ")
			if tt.command == "terminate" {
				if err := i.Disconnect(short(t), false); err != nil {
					t.Errorf("disconnect after terminate: %v", err)
				}
			}
		})
	}
	s.checkServes(t)
}

// TestForbidden sends requests that must not reach the target: each is refused with a
// reason, and the session goes on.
func TestForbidden(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	i := s.ide(t)
	defer i.Close()
	pod, stop := stopInCreateContainer(t, f, i.Client, f.lineOf(t, createContainerFile, createContainerCode))
	for _, tt := range []struct {
		command string
		args    any
		why     string
	}{
		{"restart", nil, "the target belongs to the node"},
		{"dataBreakpointInfo", dap.DataBreakpointInfoArguments{Name: "r"}, "data breakpoints are not supported"},
		{"setDataBreakpoints", map[string]any{"breakpoints": []any{map[string]any{"dataId": "r"}}}, "data breakpoints are not supported"},
		{"evaluate", dap.EvaluateArguments{Expression: "dlv target follow-exec -on", Context: "repl"}, "other processes on the node are not followed"},
	} {
		before := strings.Count(i.Output(), tt.why)
		if _, err := i.Request(short(t), tt.command, tt.args); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v", tt.command, err)
		}
		if strings.Count(i.Output(), tt.why) == before {
			t.Errorf("%s: the debug console does not contain %q", tt.command, tt.why)
		}
	}
	if err := i.Continue(short(t), stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	f.checkWorks(t, pod)
	if err := i.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	f.waitFree(t, pid, 5*time.Second)
}

// TestLaunch starts a session with a launch configuration: it attaches to the target
// like any other session.
func TestLaunch(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	i := s.ide(t)
	defer i.Close()
	ctx := short(t)
	if _, err := i.Initialize(ctx); err != nil {
		t.Fatal(err)
	}
	launch, err := i.Send("launch", map[string]any{"request": "launch", "mode": "debug", "program": f.source, "stopOnEntry": false})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.WaitEvent(ctx, "initialized", nil); err != nil {
		t.Fatal(err)
	}
	file, line := f.file(createContainerFile), f.lineOf(t, createContainerFile, createContainerCode)
	if _, err := i.SetBreakpoints(ctx, file, []int{line}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Request(ctx, "configurationDone", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Wait(ctx, launch); err != nil {
		t.Fatal(err)
	}
	pod := f.startPod(t)
	if _, err := i.WaitStopped(ctx); err != nil {
		t.Fatal(err)
	}
	if err := i.Disconnect(ctx, true); err != nil {
		t.Error(err)
	}
	f.waitFree(t, pid, 5*time.Second)
	f.checkWorks(t, pod)
}

// TestSecondIDE connects a second IDE: it is refused with the name of the first, which
// is not disturbed.
func TestSecondIDE(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	first, second := s.ide(t), s.ide(t)
	defer first.Close()
	defer second.Close()
	pod, stop := stopInCreateContainer(t, f, first.Client, f.lineOf(t, createContainerFile, createContainerCode))
	if _, err := second.Attach(short(t), dapclient.AttachOptions{}); err == nil || !strings.Contains(err.Error(), "Visual Studio Code ("+first.conn.LocalAddr().String()+") has held the session") {
		t.Errorf("the second IDE: %v", err)
	}
	second.Close()
	if _, _, err := first.StackTrace(short(t), stop.ThreadId, 0, 1); err != nil {
		t.Error(err)
	}
	if err := first.Continue(short(t), stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	f.checkWorks(t, pod)
	if err := first.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	f.waitFree(t, pid, 5*time.Second)
}

// TestTakeover has a second IDE take over a halted session: its own breakpoint is hit,
// those of the first IDE are gone.
func TestTakeover(t *testing.T) {
	f := setup(t)
	s := f.serve(t, "--takeover")
	pid := f.containerd(t)
	first, second := s.ide(t), s.ide(t)
	defer first.Close()
	defer second.Close()
	line := f.lineOf(t, createContainerFile, createContainerCode)
	pod, _ := stopInCreateContainer(t, f, first.Client, line)
	next, stop := stopInCreateContainer(t, f, second.Client, line+2)
	s.toldOfTheEnd(t, first.Client, "takes over the session")
	f.checkWorks(t, pod)
	if frames, _, err := second.StackTrace(short(t), stop.ThreadId, 0, 1); err != nil || frames[0].Line != line+2 {
		t.Errorf("stopped at %+v, %v", frames, err)
	}
	if err := second.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	f.waitFree(t, pid, 5*time.Second)
	f.checkWorks(t, next)
}

// TestLinger stays attached after a session: the target runs without the session's
// breakpoints, and the next session need not wait for an attach.
func TestLinger(t *testing.T) {
	const linger = 4 * time.Second
	f := setup(t)
	pid := f.containerd(t)
	s := f.serve(t, "--linger", linger.String())
	var took [2]time.Duration
	for n := range took {
		i := s.ide(t)
		defer i.Close()
		start := time.Now()
		if _, err := i.Attach(short(t), dapclient.AttachOptions{}); err != nil {
			t.Fatal(err)
		}
		took[n] = time.Since(start)
		if _, err := i.SetBreakpoints(short(t), f.file(createContainerFile), []int{f.lineOf(t, createContainerFile, createContainerCode)}); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if err := i.Disconnect(short(t), false); err != nil {
				t.Error(err)
			}
		} else {
			i.Close()
		}
		if tracer, err := f.node.TracerPid(t.Context(), pid); err != nil || tracer == 0 {
			t.Fatalf("after session %d containerd is traced by %d, %v", n, tracer, err)
		}
	}
	left := time.Now()
	t.Logf("attached in %s, and in %s while the debugger lingered", took[0], took[1])
	f.checkWorks(t, "")
	f.waitFree(t, pid, linger+2*time.Second)
	if after := time.Since(left); after < linger-time.Second {
		t.Errorf("the debugger left after %s", after)
	}
	s.checkServes(t)
}
