//go:build linux

package supervisor_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/agent/functable"
	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// A stripped target without symbols is debugged with its function table.

// startStripped starts a target that was built as releases are, and an agent for it.
func startStripped(t *testing.T, flags ...string) (*busy, *agentProcess) {
	t.Helper()
	buildProgram(t) // for its source
	path := filepath.Join(t.TempDir(), "busy")
	build := exec.Command("go", append(append([]string{"build", "-ldflags=-s -w", "-o", path}, flags...), "./testdata/busy")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the target: %v\n%s", err, out)
	}
	b := startProgram(t, path)
	s := startSupervisor(t, b, config{})
	s.functionTable = true
	return b, s
}

func TestStripped(t *testing.T) {
	for name, flags := range map[string][]string{"static": nil, "PIE": {"-buildmode=pie"}} {
		t.Run(name, func(t *testing.T) {
			ctx := shortContext(t)
			b, s := startStripped(t, flags...)
			sess := s.start(ctx, 0)
			if sess.table == nil || sess.table.Functions < 1000 || sess.table.NoGoroutines != "" {
				t.Fatalf("the function table gave %+v", sess.table)
			}
			stop := sess.stopAt(ctx, "slow: before")
			frames, _, err := sess.StackTrace(ctx, stop.ThreadId, 0, 9)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range frames {
				names = append(names, f.Name)
			}
			if want := []string{"main.slow", "main.main.func1", "runtime.goexit"}; !slices.Equal(names, want) {
				t.Errorf("the stack is %q, want %q", names, want)
			}
			testenv.Equal(t, "path", frames[0].Source.Path, program.source)
			sess.checkGoroutines(ctx)
			sess.checkNoVariables(ctx, frames[0].Id)
			if err := sess.Next(ctx, stop.ThreadId); err != nil {
				t.Fatal(err)
			}
			if _, err := sess.WaitStopped(ctx); err != nil {
				t.Fatal(err)
			}
			frames, _, err = sess.StackTrace(ctx, stop.ThreadId, 0, 1)
			if err != nil || len(frames) != 1 {
				t.Fatalf("%+v, %v", frames, err)
			}
			testenv.Equal(t, "next line", frames[0].Line, b.line("slow: asleep"))
			sess.setBreakpoints(ctx, b.neverBreakpoint()) // whose condition cannot be evaluated
			if err := sess.Continue(ctx, stop.ThreadId); err != nil {
				t.Fatal(err)
			}
			if _, err := sess.WaitStopped(ctx); err != nil {
				t.Error(err)
			}
			sess.end(ctx)
			b.waitForNaps(b.naps.Load(), 1)
		})
	}
}

// checkGoroutines checks that the program's goroutines are there.
func (sess *session) checkGoroutines(ctx context.Context) {
	t := sess.s.t
	t.Helper()
	threads, err := sess.Threads(ctx)
	if err != nil {
		t.Fatal(err)
	}
	workers := 0
	for _, thread := range threads {
		frames, _, err := sess.StackTrace(ctx, thread.Id, 0, 20)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(frames, func(f dap.StackFrame) bool { return f.Name == "main.work" }) {
			workers++
		}
	}
	if workers != 3 {
		t.Errorf("%d of the goroutines are in main.work, want 3: %+v", workers, threads)
	}
}

// checkNoVariables checks that the frame has no variables, and that no function can be
// called: that would be with the wrong arguments.
func (sess *session) checkNoVariables(ctx context.Context, frame int) {
	t := sess.s.t
	t.Helper()
	if vars := sess.locals(ctx, frame); len(vars) > 0 {
		t.Errorf("variables: %+v", vars)
	}
	for _, expr := range []string{"begin", "call main.answer(1)", "call main.answer()"} {
		if value, _, err := sess.Evaluate(ctx, frame, expr, "repl"); err == nil {
			t.Errorf("%s is %s", expr, value)
		}
	}
}

// locals returns the variables of a frame, by name.
func (sess *session) locals(ctx context.Context, frame int) map[string]dap.Variable {
	t := sess.s.t
	t.Helper()
	scopes, err := sess.Scopes(ctx, frame)
	if err != nil || len(scopes) == 0 {
		t.Fatalf("scopes %+v, %v", scopes, err)
	}
	vars := map[string]dap.Variable{}
	if scopes[0].VariablesReference == 0 {
		return vars
	}
	list, err := sess.Variables(ctx, scopes[0].VariablesReference)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		vars[v.Name] = v
	}
	return vars
}

// TestRawArguments checks that a breakpoint on a function shows the words of its arguments,
// and that they are gone with the next line.
func TestRawArguments(t *testing.T) {
	ctx := shortContext(t)
	b, s := startStripped(t, "-gcflags=all=-N -l") // such that the next line is in the function
	sess := s.start(ctx, 0)
	r, err := sess.Request(ctx, "setFunctionBreakpoints", map[string]any{"breakpoints": []dap.FunctionBreakpoint{{Name: "main.hot"}}})
	if err != nil {
		t.Fatal(err)
	}
	var set dap.SetFunctionBreakpointsResponseBody
	if err := json.Unmarshal(r.Body, &set); err != nil || len(set.Breakpoints) != 1 || !set.Breakpoints[0].Verified {
		t.Fatalf("%+v, %v", set, err)
	}
	stop, err := sess.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frames, _, err := sess.StackTrace(ctx, stop.ThreadId, 0, 2)
	if err != nil || len(frames) != 2 {
		t.Fatalf("%+v, %v", frames, err)
	}
	vars := sess.locals(ctx, frames[0].Id)
	if worker, ok := firstNumber(vars["RAX"].Value); !ok || worker > 2 || vars["RAX"].Type != "raw argument word" {
		t.Errorf("the first argument is %+v, want one of 0 to 2", vars["RAX"])
	}
	if i, ok := firstNumber(vars["RBX"].Value); !ok || i > 1e9 {
		t.Errorf("the second argument is %+v, want a count", vars["RBX"])
	}
	if vars := sess.locals(ctx, frames[1].Id); len(vars) > 0 {
		t.Errorf("the caller has %+v", vars)
	}
	if err := sess.Next(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	if _, err := sess.WaitStopped(ctx); err != nil {
		t.Fatal(err)
	}
	if frames, _, err = sess.StackTrace(ctx, stop.ThreadId, 0, 1); err != nil || len(frames) != 1 {
		t.Fatalf("%+v, %v", frames, err)
	}
	if vars := sess.locals(ctx, frames[0].Id); len(vars) > 0 {
		t.Errorf("after the prologue there are still %+v", vars)
	}
	sess.end(ctx)
	b.mustBeat(5 * time.Second)
}

// firstNumber returns the number at the beginning of a value.
func firstNumber(value string) (n uint64, ok bool) {
	first, _, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(first, 10, 64)
	return n, err == nil
}

// TestLeaveStripped checks that every way to leave a stripped target leaves it alive.
func TestLeaveStripped(t *testing.T) {
	for name, leave := range map[string]func(context.Context, *session){
		"end":           func(ctx context.Context, sess *session) { sess.end(ctx) },
		"client goes":   func(_ context.Context, sess *session) { sess.Client.Close() },
		"link ends":     func(_ context.Context, sess *session) { sess.s.stdin.Close() },
		"agent killed":  func(_ context.Context, sess *session) { sess.s.cmd.Process.Kill() },
		"worker killed": func(_ context.Context, sess *session) { syscall.Kill(sess.s.workerPID(), syscall.SIGKILL) },
	} {
		for _, how := range []string{"halted", "running"} {
			if name == "worker killed" && how == "halted" {
				continue // nothing that is traced survives that
			}
			t.Run(name+", "+how, func(t *testing.T) {
				ctx := shortContext(t)
				b, s := startStripped(t)
				sess := s.start(ctx, 0)
				if how == "halted" {
					sess.stopAt(ctx, "slow: before")
				} else {
					sess.setBreakpoints(ctx, dap.SourceBreakpoint{Line: b.line("and ends with the goroutine")})
				}
				leave(ctx, sess)
				b.waitUntilFree(10 * time.Second)
				b.waitForNaps(b.naps.Load(), 1)
			})
		}
	}
}

// TestStrippedRefused checks that the function table is used only if it is to do, and is
// left nowhere.
func TestStrippedRefused(t *testing.T) {
	ctx := shortContext(t)
	b, s := startStripped(t)
	s.functionTable = false
	if _, err := s.open(ctx, 0); diag.CodeOf(err) != diag.TargetStripped {
		t.Errorf("the attach fails with %v", err)
	}
	b.mustBeFree()
	s.functionTable = true
	first := s.start(ctx, time.Minute)
	if reason, err := s.client.EndSession(ctx); reason != "" || err != nil {
		t.Fatalf("end: %q, %v", reason, err)
	}
	first.mustHaveEnded(ctx)
	second := s.start(ctx, 0)
	if second.table == nil || second.table.Functions != first.table.Functions {
		t.Errorf("the lingering debugger has %+v, and had %+v", second.table, first.table)
	}
	second.end(ctx)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(exe)), "symbols", ".next-*")); len(left) > 0 {
		t.Error(fmt.Sprint("debug files are left: ", left))
	}
}

// TestLingerWithoutSymbols checks that a session with symbols is not served by a debugger
// that lingers without them.
func TestLingerWithoutSymbols(t *testing.T) {
	ctx := shortContext(t)
	b, s := startStripped(t)
	first := s.start(ctx, time.Hour)
	worker := s.workerPID()
	if reason, err := s.client.EndSession(ctx); reason != "" || err != nil {
		t.Fatalf("end: %q, %v", reason, err)
	}
	first.mustHaveEnded(ctx)
	s.symbols = storeTable(t, s.client.Hello().Target)
	second := s.start(ctx, 0)
	if second.table != nil || s.workerPID() == worker {
		t.Errorf("the session has %+v, from pid %d, which lingered as %d", second.table, s.workerPID(), worker)
	}
	second.stopAt(ctx, "slow: before")
	second.end(ctx)
	b.waitForNaps(b.naps.Load(), 1)
}

// storeTable stores what a process's function table gives as if it came from a twin.
func storeTable(t *testing.T, target *api.Target) *api.Symbols {
	t.Helper()
	var file, packed bytes.Buffer
	if _, err := functable.Write(&file, target.PID, target.Build.GoVersion); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(file.Bytes())
	hash := hex.EncodeToString(sum[:])
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(file.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := supervisor.StoreSymbols(&packed, hash); err != nil {
		t.Fatal(err)
	}
	return &api.Symbols{Hash: hash, PID: target.PID, StartTicks: target.StartTicks, BuildID: target.Build.BuildID}
}
