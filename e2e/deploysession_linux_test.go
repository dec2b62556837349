package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// replaced is the start of the reason with which a command ends a session.
const replaced = "containerd is replaced by dapbridge %s (pid "

// TestDeployEndsSession replaces containerd, or has systemd restart it, during a
// session. The session ends with a reason, containerd does not crash, and the next
// session on the same daemon debugs the new process.
func TestDeployEndsSession(t *testing.T) {
	f := setupAll(t)
	f.restore(t)
	survivor := f.startPod(t)
	f.waitPod(t, survivor)
	shims := f.shims(t)
	s := f.serve(t)
	for _, tt := range []struct {
		name  string
		begin situation
		act   func(t *testing.T)
		says  string // %d, %d are the former and the new pid
	}{
		{"deploy, halted", haltTarget, func(t *testing.T) { f.deploy(t) }, fmt.Sprintf(replaced, "deploy")},
		{"restore, running hot", runUnderLoad, func(t *testing.T) { f.restore(t) }, fmt.Sprintf(replaced, "restore")},
		{"systemd restarts it, halted", haltTarget, f.restartContainerd, "containerd has ended: pid %d; its unit runs again as pid %d"},
		{"systemd restarts it, running", runColdBreakpoint, f.restartContainerd, "containerd has ended: pid %d; its unit runs again as pid %d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			crashes := f.crashes(t)
			pid := f.containerd(t)
			c := s.dial(t)
			tt.begin(t, f, c)
			tt.act(t)
			now := f.containerd(t)
			if now == pid {
				t.Fatalf("containerd is still pid %d", pid)
			}
			says := tt.says
			if strings.Contains(says, "%d") {
				says = fmt.Sprintf(says, pid, now)
			}
			waitSessionEnd(t, c, says)
			if got := f.crashes(t); got != crashes {
				t.Errorf("containerd's crashes were %q and are %q", crashes, got)
			}
			f.checkAllVariables(t, s)
			if got := f.shims(t); !allAlive(shims, got) {
				t.Errorf("processes\n%s\nbefore\n%s", got, shims)
			}
		})
	}
	f.restore(t)
	f.checkWorks(t, "")
}

// TestDeployEndsRPCSession does the same to a client of Delve's JSON-RPC.
func TestDeployEndsRPCSession(t *testing.T) {
	f := setupAll(t)
	f.restore(t)
	s := f.serve(t)
	const over = "the session ended on the node: containerd "
	for _, tt := range []struct {
		name string
		act  func(t *testing.T)
		says string
	}{
		{"deploy", func(t *testing.T) { f.deploy(t) }, fmt.Sprintf(replaced, "deploy")},
		{"systemd restarts it", f.restartContainerd, " has exited with status "}, // Delve's own words
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := strings.Count(s.log.String(), over)
			pid := f.containerd(t)
			c, _ := s.rpc(t)
			if _, err := c.CreateBreakpoint(&api.Breakpoint{File: f.file(versionFile), Line: f.lineOf(t, versionFile, versionCode), Cond: "1 == 2"}); err != nil {
				t.Fatal(err)
			}
			run := c.Continue()
			tt.act(t)
			if state := within(t, run); state.Err == nil || !strings.Contains(state.Err.Error(), tt.says) {
				t.Errorf("the response to continue: %+v, want …%s…", state, tt.says)
			}
			if now := f.containerd(t); now == pid {
				t.Fatalf("containerd is still pid %d", pid)
			}
			eventually(t, time.Minute, func() string { // Delve may have its say first
				if strings.Count(s.log.String(), over) == told {
					return "dapbridge serve does not say why the session ended"
				}
				return ""
			})
			next, _ := s.rpc(t)
			f.stopRPC(t, next, f.lineOf(t, createContainerFile, createContainerCode))
			if err := next.Detach(false); err != nil {
				t.Error(err)
			}
		})
	}
	f.restore(t)
	f.checkWorks(t, "")
}

// TestDeployForeignTracer has deploy and restore refused while containerd has a debugger
// that cannot be asked to detach.
func TestDeployForeignTracer(t *testing.T) {
	f := setupAll(t)
	f.restore(t)
	pid := f.containerd(t)
	tracer := f.traceByDelve(t, pid)
	checkFails(t, f.deployCommand(t, f.program(t, crashes, 0)), failure{4, "traced by pid " + strconv.Itoa(tracer), "end the other debugger"})
	if now := f.containerd(t); now != pid {
		t.Errorf("containerd was pid %d and is %d", pid, now)
	}
}

// runColdBreakpoint lets the target run with a breakpoint that is never hit.
func runColdBreakpoint(t *testing.T, f *fixture, c *dapclient.Client) string {
	t.Helper()
	file := f.file(createContainerFile)
	if _, err := c.Attach(short(t), dapclient.AttachOptions{Breakpoints: map[string][]int{file: {f.lineOf(t, createContainerFile, createContainerCode)}}}); err != nil {
		t.Fatal(err)
	}
	return ""
}

// restartContainerd restarts containerd by systemctl.
func (f *fixture) restartContainerd(t *testing.T) {
	t.Helper()
	f.root(t, "systemctl restart containerd")
}

// crashes returns the journal entries of processes of containerd's unit that a signal
// has ended.
func (f *fixture) crashes(t *testing.T) string {
	t.Helper()
	out, err := f.node.Exec(t.Context(), "sh", "-c", "journalctl --unit=containerd --output=cat --no-pager | grep -e code=killed -e code=dumped | sort | uniq -c; :")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// waitSessionEnd waits for the reason of the session's end in the debug console, and
// then for the end.
func waitSessionEnd(t *testing.T, c *dapclient.Client, says string) {
	t.Helper()
	ctx := short(t)
	if _, err := c.WaitEvent(ctx, "output", func(b json.RawMessage) bool { return strings.Contains(string(b), says) }); err != nil {
		t.Fatalf("no %q in the console: %v\n%s", says, err, c.Output())
	}
	if _, err := c.WaitEvent(ctx, "terminated", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Disconnect(ctx, false); err != nil {
		t.Error(err)
	}
}

// checkAllVariables stops a new session in CreateContainer, and checks that no argument
// and no variable is missing.
func (f *fixture) checkAllVariables(t *testing.T, s *server) {
	t.Helper()
	c := s.dial(t)
	pod, stop := stopInCreateContainer(t, f, c, f.lineOf(t, createContainerFile, createContainerCode))
	ctx := short(t)
	frames, _, err := c.StackTrace(ctx, stop.ThreadId, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	checkLocals(ctx, t, c, frames[0].Id)
	checkVariableValues(ctx, t, c, frames[0])
	if err := c.Disconnect(ctx, false); err != nil {
		t.Error(err)
	}
	f.waitPod(t, pod)
}

// checkVariableValues checks that each variable of a frame has a value, which needs a
// build without optimisation.
func checkVariableValues(ctx context.Context, t *testing.T, c *dapclient.Client, frame dap.StackFrame) {
	t.Helper()
	scopes, err := c.Scopes(ctx, frame.Id)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, scope := range scopes {
		vars, err := c.Variables(ctx, scope.VariablesReference)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(scope.Name, "warning") {
			t.Errorf("the scope is called %q", scope.Name)
		}
		for _, v := range vars {
			seen++
			if strings.Contains(v.Value, "unreadable") || strings.Contains(v.Value, "optimized") {
				t.Errorf("%s %s = %s", v.Name, v.Type, v.Value)
			}
		}
	}
	if seen < 4 { // r, c, ctx and the results
		t.Errorf("%d variables are seen in %s", seen, frame.Name)
	}
}
