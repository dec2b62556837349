package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestSession is the main use: an ordinary user sets a breakpoint in their own copy of
// containerd's source, stops there when kubelet creates a container, inspects, steps,
// continues and disconnects.
func TestSession(t *testing.T) {
	session(t, setup(t))
}

// TestSessionStatic debugs a containerd that was built without cgo.
func TestSessionStatic(t *testing.T) {
	f := setupAll(t)
	f.use(t, testbed.Static)
	session(t, f)
}

// use installs a flavour of containerd on the node until the test ends.
func (f *fixture) use(t testing.TB, flavour string) {
	t.Helper()
	before := f.node.Containerd()
	if before == flavour {
		return
	}
	if err := f.node.SwapContainerd(t.Context(), flavour); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.node.SwapContainerd(context.WithoutCancel(t.Context()), before); err != nil {
			t.Error(err)
		}
	})
}

func session(t *testing.T, f *fixture) {
	pid := f.containerd(t)
	sessionOn(t, f, f.serve(t), pid)
}

// sessionOn runs a complete session on containerd, whose pid is given.
func sessionOn(t *testing.T, f *fixture, s *server, pid int) {
	ctx := short(t)
	c := s.dial(t)
	line := f.lineOf(t, createContainerFile, createContainerCode)
	pod, stop := stopInCreateContainer(t, f, c, line)

	frames, total, err := c.StackTrace(ctx, stop.ThreadId, 0, 20)
	if err != nil {
		t.Fatal(err)
	}
	checkStack(t, f, frames, total, line)
	if name, _, err := c.Evaluate(ctx, frames[0].Id, "r.SandboxConfig.Metadata.Name", "watch"); err != nil || !strings.HasPrefix(name, `"`+pod) {
		t.Errorf("the pod's name in the request is %s (%v), want %s", name, err, pod)
	}
	if list, _, err := c.Evaluate(ctx, frames[0].Id, "dlv sources "+createContainerFile, "repl"); err != nil || strings.TrimSpace(list) != f.file(createContainerFile) {
		t.Errorf("Delve's list of sources says %q (%v), want %s", list, err, f.file(createContainerFile))
	}
	checkLocals(ctx, t, c, frames[0].Id)
	if err := c.Next(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	if step, err := c.WaitStopped(ctx); err != nil || step.Reason != "step" {
		t.Fatalf("after next: %+v, %v", step, err)
	}
	if err := c.Continue(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	f.waitPod(t, pod)
	if err := c.Disconnect(ctx, false); err != nil {
		t.Fatal(err)
	}
	if tracer, err := f.node.TracerPid(ctx, pid); err != nil || tracer != 0 {
		t.Errorf("after disconnect containerd is traced by %d (%v)", tracer, err)
	}
	f.waitFree(t, pid, 5*time.Second)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// stopInCreateContainer attaches as VS Code does, with a breakpoint at the line, and has
// kubelet create a pod that stops there.
func stopInCreateContainer(t *testing.T, f *fixture, c *dapclient.Client, line int) (pod string, stop *dap.StoppedEventBody) {
	t.Helper()
	ctx := short(t)
	file := f.file(createContainerFile)
	verified, err := c.Attach(ctx, dapclient.AttachOptions{Breakpoints: map[string][]int{file: {line}}})
	if err != nil {
		t.Fatal(err)
	}
	checkVerified(t, verified[file], file, line)
	testenv.Equal(t, "message of the breakpoint", verified[file][0].Message, "")
	pod = f.startPod(t)
	stop, err = c.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if stop.Reason != "breakpoint" || !stop.AllThreadsStopped {
		t.Fatalf("stopped: %+v", stop)
	}
	return pod, stop
}

// checkStack checks that the stack begins at the breakpoint, and that the files of
// containerd's own frames exist on the host.
func checkStack(t *testing.T, f *fixture, frames []dap.StackFrame, total, line int) {
	t.Helper()
	checkTop(t, frames, f.file(createContainerFile), line)
	if total < 10 {
		t.Errorf("the stack has only %d frames", total)
	}
	own := 0
	for _, fr := range frames {
		if fr.Source == nil || !strings.HasPrefix(fr.Source.Path, f.source) {
			continue
		}
		own++
		if _, err := os.Stat(fr.Source.Path); err != nil {
			t.Errorf("frame %s: %v", fr.Name, err)
		}
	}
	if own < 3 {
		t.Errorf("only %d of %d frames are in the user's source", own, len(frames))
	}
}

// checkLocals checks that the variables of the frame include the request.
func checkLocals(ctx context.Context, t *testing.T, c *dapclient.Client, frame int) {
	t.Helper()
	scopes, err := c.Scopes(ctx, frame)
	if err != nil || len(scopes) == 0 {
		t.Fatalf("scopes: %v, %v", scopes, err)
	}
	vars, err := c.Variables(ctx, scopes[0].VariablesReference)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vars {
		if v.Name == "r" && strings.Contains(v.Type, "CreateContainerRequest") && v.VariablesReference > 0 {
			return
		}
	}
	t.Errorf("no request among the variables: %+v", vars)
}
