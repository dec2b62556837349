//go:build linux

package supervisor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-dap"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestGoVersions debugs programs that were built by a Go release for which Delve is not
// made, with their debug information and, if the release's function table can be used,
// without. It is what api.Debugger.Warning says of them.
func TestGoVersions(t *testing.T) {
	testenv.SecondTier(t)
	for version, hasTable := range map[string]bool{"go1.18.10": false, "go1.20.14": true, "go1.21.13": true, "go1.24.0": true} {
		t.Run(version, func(t *testing.T) { debugKinds(t, buildKinds(t, version, "-gcflags=all=-N -l")) })
		if hasTable {
			t.Run(version+", stripped", func(t *testing.T) { debugStrippedKinds(t, buildKinds(t, version, "-ldflags=-s -w")) })
		}
	}
}

// kindsSource returns the path of the program's source, and the line to stop at.
func kindsSource(t *testing.T) (path string, line int) {
	t.Helper()
	path, err := filepath.Abs("testdata/kinds/main.go")
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(testenv.ReadFile(t, path), "// stop")
	if !ok {
		t.Fatal("no line to stop at")
	}
	return path, 1 + strings.Count(before, "\n")
}

// buildKinds builds testdata/kinds with a Go release, outside of this module.
func buildKinds(t *testing.T, version, flags string) (program string) {
	t.Helper()
	source, _ := kindsSource(t)
	program = filepath.Join(t.TempDir(), "kinds")
	build := exec.Command("go", "build", flags, "-o", program, source)
	build.Dir = t.TempDir()
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN="+version, "GOFLAGS=", "GOWORK=off", "GO111MODULE=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// stopInKinds starts a session, stops at the program's line, and checks the stack and the
// next two lines.
func stopInKinds(t *testing.T, s *agentProcess, check func(sess *session, frame int)) {
	t.Helper()
	ctx := shortContext(t)
	source, line := kindsSource(t)
	sess := s.start(ctx, 0)
	if got, err := sess.SetBreakpoints(ctx, source, []int{line}); err != nil || !got[0].Verified {
		t.Fatalf("%+v, %v", got, err)
	}
	stop, err := sess.WaitStopped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	top := func() dap.StackFrame {
		frames, total, err := sess.StackTrace(ctx, stop.ThreadId, 0, 1)
		if err != nil || total < 3 {
			t.Fatalf("%d frames, %v", total, err)
		}
		return frames[0]
	}
	testenv.Equal(t, "function", top().Name, "main.work")
	testenv.Equal(t, "line", top().Line, line)
	if threads, err := sess.Threads(ctx); err != nil || len(threads) < 5 {
		t.Errorf("goroutines: %+v, %v", threads, err)
	}
	check(sess, top().Id)
	if _, err := sess.SetBreakpoints(ctx, source, nil); err != nil {
		t.Fatal(err)
	}
	if err := sess.Next(ctx, stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	if _, err := sess.WaitStopped(ctx); err != nil {
		t.Fatal(err)
	}
	if top().Name != "main.work" || top().Line == line {
		t.Errorf("the next line is %s:%d", top().Name, top().Line)
	}
	sess.end(ctx)
}

func debugKinds(t *testing.T, program string) {
	stopInKinds(t, startSupervisor(t, startProgram(t, program), config{}), func(sess *session, frame int) {
		for expr, want := range map[string]string{
			"n": "10", "text": `"hello"`, "list": "[]int len: 3, cap: 3, [1,2,3]", `table["b"]`: "2", "p.Name": `"p"`, "i.(main.inner).N": "4",
			"err": `error(*errors.errorString) *{s: "bad"}`, "queue": "chan int 1/3", "array": "[3]int [1,2,3]", "any.(main.inner).Name": `"x"`,
			"call answer(2)": "84",
		} {
			got, _, err := sess.Evaluate(t.Context(), frame, expr, "repl")
			if err != nil || !strings.Contains(got, want) {
				t.Errorf("%s is %s (%v), want %s", expr, got, err, want)
			}
		}
	})
}

func debugStrippedKinds(t *testing.T, program string) {
	s := startSupervisor(t, startProgram(t, program), config{})
	s.functionTable = true
	stopInKinds(t, s, func(sess *session, _ int) {
		testenv.Equal(t, "reason for no goroutines", sess.table.NoGoroutines, "")
	})
}
