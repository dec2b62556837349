package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// TestRPCClientLeaves ends a client of Delve's JSON-RPC in every way, in every situation.
// One daemon serves all sessions.
func TestRPCClientLeaves(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	for at, situation := range map[string]func(*testing.T, *fixture, *rpc2.RPCClient) (pod string){
		"halted": rpcHalted, "running": rpcRunning, "waiting": rpcWaiting, "stepping": rpcStepping, "calling": rpcCalling,
	} {
		everyWay := at == "halted" || at == "running" // of the others, one that asks and one that does not
		for name, leave := range map[string]func(*testing.T, *rpc2.RPCClient, *net.TCPConn){
			"detach": func(t *testing.T, c *rpc2.RPCClient, _ *net.TCPConn) {
				if err := c.Detach(false); err != nil {
					t.Error(err)
				}
			},
			"detach and kill": func(t *testing.T, c *rpc2.RPCClient, _ *net.TCPConn) {
				if err := c.Detach(true); err != nil {
					t.Error(err)
				}
			},
			"disconnect": func(_ *testing.T, c *rpc2.RPCClient, _ *net.TCPConn) { c.Disconnect(true) },
			"closed":     func(_ *testing.T, _ *rpc2.RPCClient, conn *net.TCPConn) { conn.Close() },
			"reset": func(_ *testing.T, _ *rpc2.RPCClient, conn *net.TCPConn) {
				conn.SetLinger(0)
				conn.Close()
			},
			"killed": func(t *testing.T, _ *rpc2.RPCClient, conn *net.TCPConn) { killedConn(t, conn) },
		} {
			if !everyWay && name != "detach and kill" && name != "killed" {
				continue
			}
			t.Run(at+"/"+name, func(t *testing.T) {
				c, conn := s.rpc(t)
				defer conn.Close() // before the pod is removed
				pod := situation(t, f, c)
				leave(t, c, conn)
				f.waitFree(t, pid, 10*time.Second)
				f.checkWorks(t, pod)
			})
		}
	}
	s.checkServes(t)
}

// rpcHalted halts the target where kubelet's call to create a container arrives.
func rpcHalted(t *testing.T, f *fixture, c *rpc2.RPCClient) string {
	t.Helper()
	pod, _ := f.stopRPC(t, c, f.lineOf(t, createContainerFile, createContainerCode))
	return pod
}

// rpcRunning lets the target run with a breakpoint that is never hit.
func rpcRunning(t *testing.T, f *fixture, c *rpc2.RPCClient) string {
	t.Helper()
	line := f.lineOf(t, createContainerFile, createContainerCode)
	if _, err := c.CreateBreakpoint(&api.Breakpoint{File: f.file(createContainerFile), Line: line}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for range c.Continue() {
		}
	}()
	f.runsRPC(t, c)
	return ""
}

// rpcWaiting sends requests that wait for a running target.
func rpcWaiting(t *testing.T, f *fixture, c *rpc2.RPCClient) string {
	t.Helper()
	rpcRunning(t, f, c)
	go c.ListSources("")
	go c.GetState()
	return ""
}

// rpcStepping starts a step over a call that takes long: it starts a shim and a sandbox.
func rpcStepping(t *testing.T, f *fixture, c *rpc2.RPCClient) string {
	t.Helper()
	const file, code = "internal/cri/server/sandbox_run.go", "c.sandboxService.StartSandbox("
	if _, err := c.CreateBreakpoint(&api.Breakpoint{File: f.file(file), Line: f.lineOf(t, file, code)}); err != nil {
		t.Fatal(err)
	}
	stopped := c.Continue()
	pod := f.startPod(t)
	if state := within(t, stopped); state.Err != nil {
		t.Fatal(state.Err)
	}
	go c.Next()
	f.runsRPC(t, c)
	return pod
}

// rpcCalling starts an injected call that takes some time.
func rpcCalling(t *testing.T, f *fixture, c *rpc2.RPCClient) string {
	t.Helper()
	pod := rpcHalted(t, f, c)
	c.SetReturnValuesLoadConfig(&api.LoadConfig{})
	go c.Call(-1, longCall, false)
	f.runsRPC(t, c)
	return pod
}

// TestRPCClientLeavesWhileAttaching ends a client right after its first request, and while
// the node attaches.
func TestRPCClientLeavesWhileAttaching(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	for at, attaches := range map[string]bool{"first request": false, "attaching": true} {
		for name, leave := range map[string]func(*testing.T, *net.TCPConn){
			"closed": func(t *testing.T, conn *net.TCPConn) { conn.Close() },
			"killed": killedConn,
			"detach": func(t *testing.T, conn *net.TCPConn) {
				if _, err := io.WriteString(conn, `{"method":"RPCServer.Detach","params":[{"Kill":true}],"id":2}`); err != nil {
					t.Fatal(err)
				}
				conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				if got, err := io.ReadAll(conn); err != nil || !strings.Contains(string(got), `{"id":2,"result":{},"error":null}`) {
					t.Errorf("got %q, %v", got, err)
				}
			},
		} {
			t.Run(at+"/"+name, func(t *testing.T) {
				conn, err := dialAs(userUID, s.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, `{"method":"RPCServer.SetApiVersion","params":[{"APIVersion":2}],"id":1}`); err != nil {
					t.Fatal(err)
				}
				if attaches {
					f.waitTraced(t, pid)
				}
				leave(t, conn.(*net.TCPConn))
				f.waitFree(t, pid, 10*time.Second)
				f.checkWorks(t, "")
			})
		}
	}
	s.checkServes(t)
}

// runsRPC waits until the target runs.
func (f *fixture) runsRPC(t *testing.T, c *rpc2.RPCClient) {
	t.Helper()
	eventually(t, 10*time.Second, func() string {
		if state, err := c.GetStateNonBlocking(); err != nil || !state.Running {
			return "containerd does not run"
		}
		return ""
	})
}

// TestRPCDaemonEnds ends the daemon during a session.
func TestRPCDaemonEnds(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			s := f.serve(t)
			c, conn := s.rpc(t)
			defer conn.Close()
			pod, _ := f.stopRPC(t, c, f.lineOf(t, createContainerFile, createContainerCode))
			s.cmd.Process.Signal(signal)
			s.exit(t, 15*time.Second)
			f.waitFree(t, pid, 5*time.Second)
			f.waitDeserted(t, 5*time.Second)
			f.checkWorks(t, pod)
		})
	}
}

// TestRPCRefused sends requests that must not reach the target: each is refused with a
// reason, and the session goes on.
func TestRPCRefused(t *testing.T) {
	f := setup(t)
	s := f.serve(t)
	pid := f.containerd(t)
	c, conn := s.rpc(t)
	defer conn.Close()
	pod, _ := f.stopRPC(t, c, f.lineOf(t, createContainerFile, createContainerCode))
	for _, tt := range []struct {
		method string
		in     any
		why    string
	}{
		{"Restart", rpc2.RestartIn{}, "the target belongs to the node"},
		{"DumpStart", rpc2.DumpStartIn{Destination: "/root/core"}, "core dumps are not taken"},
		{"DumpWait", rpc2.DumpWaitIn{}, "core dumps are not taken"},
		{"DumpCancel", rpc2.DumpCancelIn{}, "core dumps are not taken"},
		{"DebugInfoDirectories", rpc2.DebugInfoDirectoriesIn{Set: true, List: []string{"/root"}}, "cannot be set"},
		{"DownloadLibraryDebugInfo", rpc2.DownloadLibraryDebugInfoIn{}, "not downloaded"},
		{"FollowExec", rpc2.FollowExecIn{Enable: true}, "not followed"},
		{"CreateEBPFTracepoint", rpc2.CreateEBPFTracepointIn{FunctionName: "main.main"}, "eBPF"},
		{"CreateWatchpoint", rpc2.CreateWatchpointIn{Expr: "r", Type: api.WatchWrite}, "watchpoints"},
		{"SetExecutionPoint", rpc2.SetExecutionPointIn{}, "jumps"},
		{"Recorded", rpc2.RecordedIn{}, "not a recording"},
		{"StopRecording", rpc2.StopRecordingIn{}, "not a recording"},
		{"Checkpoint", rpc2.CheckpointIn{}, "not a recording"},
		{"ListCheckpoints", rpc2.ListCheckpointsIn{}, "not a recording"},
		{"ClearCheckpoint", rpc2.ClearCheckpointIn{}, "not a recording"},
		{"Command", api.DebuggerCommand{Name: api.Rewind}, "cannot run backwards"},
		{"Explode", struct{}{}, "method not found"},
	} {
		if err := c.CallAPI(tt.method, tt.in, &struct{}{}); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v", tt.method, err)
		}
	}
	if _, err := c.Stacktrace(-1, 3, 0, 0, nil); err != nil {
		t.Error(err)
	}
	if err := c.Detach(true); err != nil {
		t.Error(err)
	}
	f.waitFree(t, pid, 5*time.Second)
	f.checkWorks(t, pod)
}

// TestRPCAndDAP has clients of both protocols compete for the debugger: the second gets
// it when the first has ended, or immediately with --takeover.
func TestRPCAndDAP(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	s := f.serve(t)
	c, conn := s.rpc(t)
	defer conn.Close()
	if pid := c.ProcessPid(); pid == 0 {
		t.Fatal("no session")
	}
	i := s.ide(t)
	defer i.Close()
	if _, err := i.Attach(short(t), dapclient.AttachOptions{}); err == nil || !strings.Contains(err.Error(), "a Delve client ("+conn.LocalAddr().String()+") has held the session") {
		t.Errorf("the IDE: %v", err)
	}
	if err := c.Detach(false); err != nil {
		t.Error(err)
	}
	s.checkServes(t)
	s.stop(t)

	s = f.serve(t, "--takeover")
	first := s.ide(t)
	defer first.Close()
	line := f.lineOf(t, createContainerFile, createContainerCode)
	pod, _ := stopInCreateContainer(t, f, first.Client, line)
	c, conn = s.rpc(t)
	defer conn.Close()
	next, _ := f.stopRPC(t, c, line+2)
	s.toldOfTheEnd(t, first.Client, "takes over the session")
	f.checkWorks(t, pod)
	s.checkServes(t) // takes over in turn
	f.waitFree(t, pid, 5*time.Second)
	f.checkWorks(t, next)
}

// TestDlvConnect drives Delve's terminal: it shows the user's own files, and its offer
// to kill the process has no effect.
func TestDlvConnect(t *testing.T) {
	f := setupAll(t)
	pid := f.containerd(t)
	s := f.serve(t)
	file, line := f.file(createContainerFile), f.lineOf(t, createContainerFile, createContainerCode)
	dlv := f.connectDlv(t, s.addr)
	dlv.say("sources container_create.go$\n")
	dlv.waitOutput(t, file+"\n")
	dlv.say("list %s:%d\n", file, line)
	dlv.waitOutput(t, createContainerCode)
	dlv.say("break %s:%d\n", file, line)
	dlv.waitOutput(t, "Breakpoint 1 set at ")
	dlv.say("continue\n")
	pod := f.startPod(t)
	dlv.waitOutput(t, "> [Breakpoint 1] ")
	dlv.say("stack -full\n")
	dlv.waitOutput(t, " at "+file+":")
	dlv.waitOutput(t, "r = ")
	dlv.say("goroutines -r\nexit\ny\n")
	if err := dlv.wait(t); err != nil {
		t.Errorf("dlv: %v\n%s", err, dlv.out)
	}
	if strings.Contains(dlv.out.String(), f.node.BuildRoot(f.node.Containerd())) {
		t.Errorf("a path of the node is shown:\n%s", dlv.out)
	}
	f.waitFree(t, pid, 5*time.Second)
	f.checkWorks(t, pod)
	s.checkServes(t)
}

// terminal is a running dlv connect.
type terminal struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *testenv.Buffer
	seen int // of out
}

// connectDlv starts dlv connect as the user, with commands from a pipe.
func (f *fixture) connectDlv(t *testing.T, addr string) *terminal {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, f.dlv(t), "connect", "--allow-non-terminal-interactive=true", addr)
	user := f.command(ctx, userUID)
	cmd.Dir, cmd.SysProcAttr = f.home, user.SysProcAttr // it abbreviates what is below its directory
	cmd.Env = append(user.Env, "TERM=dumb")
	d := &terminal{cmd: cmd, out: &testenv.Buffer{}}
	cmd.Stdout, cmd.Stderr = d.out, d.out
	var err error
	if d.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return d
}

func (d *terminal) say(format string, args ...any) { fmt.Fprintf(d.in, format, args...) }

// waitOutput waits for a text in the output after the last one found.
func (d *terminal) waitOutput(t *testing.T, text string) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		out := d.out.String()[d.seen:]
		at := strings.Index(out, text)
		if at < 0 {
			return "dlv does not show " + text + ", but\n" + out
		}
		d.seen += at
		return ""
	})
}

func (d *terminal) wait(t *testing.T) error {
	ended := make(chan error, 1)
	go func() { ended <- d.cmd.Wait() }()
	return within(t, ended)
}
