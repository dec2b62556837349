package e2e

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestRPCSession is the main use with Delve's own client, which speaks the protocol of
// GoLand: it sets a breakpoint in the user's copy of containerd's source, stops there
// when kubelet creates a container, inspects, steps and detaches. The same daemon serves
// a DAP session before and after it.
func TestRPCSession(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	s := f.serve(t)
	s.checkServes(t)
	c, _ := s.rpc(t)
	line := f.lineOf(t, createContainerFile, createContainerCode)
	pod, stopped := f.stopRPC(t, c, line)

	if v := c.GetVersion(); v.APIVersion != 2 || v.TargetGoVersion == "" {
		t.Errorf("version: %+v", v)
	}
	f.checkRPCSources(t, c)
	f.checkRPCStack(t, c, stopped, line)
	f.checkRPCVariables(t, c, pod)
	f.checkRPCGoroutines(t, c, stopped)

	state, err := c.Next()
	if err != nil || state.CurrentThread == nil || state.CurrentThread.File != f.file(createContainerFile) || state.CurrentThread.Line <= line {
		t.Fatalf("after next: %+v, %v", state, err)
	}
	running := c.Continue()
	f.waitPod(t, pod)
	if state, err := c.GetStateNonBlocking(); err != nil || !state.Running {
		t.Errorf("while it runs: %+v, %v", state, err)
	}
	if state, err := c.Halt(); err != nil || state.Running {
		t.Errorf("halt: %+v, %v", state, err)
	}
	if state := within(t, running); state.Err != nil {
		t.Error(state.Err)
	}
	if err := c.Detach(false); err != nil {
		t.Error(err)
	}
	if tracer, err := f.node.TracerPid(t.Context(), pid); err != nil || tracer != 0 {
		t.Errorf("after detach containerd is traced by %d (%v)", tracer, err)
	}
	f.waitFree(t, pid, 5*time.Second)
	s.checkServes(t)
}

// rpc connects as a Delve client of the user until the test ends.
func (s *server) rpc(t testing.TB) (*rpc2.RPCClient, *net.TCPConn) {
	t.Helper()
	conn, err := dialAs(userUID, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Minute)) // its calls have no bounds
	return rpc2.NewClientFromConn(conn), conn.(*net.TCPConn)
}

// stopRPC sets a breakpoint at the host path, continues, and has kubelet create a pod
// that stops there.
func (f *fixture) stopRPC(t *testing.T, c *rpc2.RPCClient, line int) (pod string, state *api.DebuggerState) {
	t.Helper()
	file := f.file(createContainerFile)
	bp, err := c.CreateBreakpoint(&api.Breakpoint{File: file, Line: line})
	if err != nil || bp.File != file || bp.Line != line {
		t.Fatalf("the breakpoint: %+v, %v", bp, err)
	}
	running := c.Continue()
	pod = f.startPod(t)
	state = within(t, running)
	if state.Err != nil || state.CurrentThread == nil || state.CurrentThread.Breakpoint == nil {
		t.Fatalf("not at a breakpoint: %+v", state)
	}
	at := state.CurrentThread
	testenv.Equal(t, "place", fmt.Sprintf("%s:%d", at.File, at.Line), fmt.Sprintf("%s:%d", file, line))
	testenv.Equal(t, "file of the breakpoint", at.Breakpoint.File, file)
	return pod, state
}

// within returns the next value from a channel, within a minute.
func within[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatal("no value within a minute")
	}
	return v
}

func (f *fixture) checkRPCSources(t *testing.T, c *rpc2.RPCClient) {
	t.Helper()
	sources, err := c.ListSources("")
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for _, source := range sources {
		if strings.HasPrefix(source, f.source+"/") {
			own++
			if _, err := os.Stat(source); err != nil {
				t.Error(err)
			}
		}
		if strings.HasPrefix(source, f.node.BuildRoot(f.node.Containerd())) {
			t.Errorf("%s is a path of the node", source)
		}
	}
	if own < 100 {
		t.Errorf("%d of %d sources are the user's", own, len(sources))
	}
}

func (f *fixture) checkRPCStack(t *testing.T, c *rpc2.RPCClient, state *api.DebuggerState, line int) {
	t.Helper()
	frames, err := c.Stacktrace(state.SelectedGoroutine.ID, 30, 0, 0, &api.LoadConfig{})
	if err != nil || len(frames) < 10 {
		t.Fatalf("the stack of %d frames: %v", len(frames), err)
	}
	testenv.Equal(t, "place", fmt.Sprintf("%s:%d", frames[0].File, frames[0].Line), fmt.Sprintf("%s:%d", f.file(createContainerFile), line))
	for _, fr := range frames {
		if strings.HasPrefix(fr.File, f.node.BuildRoot(f.node.Containerd())) {
			t.Errorf("%s is a path of the node", fr.File)
		}
	}
	locations, _, err := c.FindLocation(api.EvalScope{GoroutineID: -1}, f.file(createContainerFile)+":"+strconv.Itoa(line), false, nil)
	if err != nil || len(locations) != 1 || locations[0].File != f.file(createContainerFile) {
		t.Errorf("the breakpoint's place: %+v, %v", locations, err)
	}
}

func (f *fixture) checkRPCVariables(t *testing.T, c *rpc2.RPCClient, pod string) {
	t.Helper()
	scope := api.EvalScope{GoroutineID: -1}
	args, err := c.ListFunctionArgs(scope, api.LoadConfig{FollowPointers: true, MaxVariableRecurse: 1, MaxStringLen: 64, MaxArrayValues: 64, MaxStructFields: -1})
	if err != nil || !hasVariable(args, "r") {
		t.Errorf("arguments: %+v, %v", args, err)
	}
	if _, err := c.ListLocalVariables(scope, api.LoadConfig{}); err != nil {
		t.Error(err)
	}
	name, err := c.EvalVariable(scope, "r.SandboxConfig.Metadata.Name", api.LoadConfig{MaxStringLen: 64})
	if err != nil || !strings.HasPrefix(name.Value, pod) {
		t.Errorf("the pod's name in the request is %+v (%v), want %s", name, err, pod)
	}
}

func hasVariable(vars []api.Variable, name string) bool {
	for _, v := range vars {
		if v.Name == name {
			return true
		}
	}
	return false
}

func (f *fixture) checkRPCGoroutines(t *testing.T, c *rpc2.RPCClient, state *api.DebuggerState) {
	t.Helper()
	var all []*api.Goroutine
	for start := 0; start >= 0; {
		goroutines, next, err := c.ListGoroutines(start, 20)
		if err != nil {
			t.Fatal(err)
		}
		all, start = append(all, goroutines...), next
	}
	for _, g := range all {
		if g.ID == state.SelectedGoroutine.ID {
			if g.UserCurrentLoc.File != f.file(createContainerFile) {
				t.Errorf("the goroutine is at %+v", g.UserCurrentLoc)
			}
			return
		}
	}
	t.Errorf("the goroutine that stopped is not among %d", len(all))
}
