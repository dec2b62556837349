package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-dap"
)

// checkVerified fails the test unless there is one breakpoint, which is verified in the
// file, at the line unless that is 0.
func checkVerified(t testing.TB, points []dap.Breakpoint, file string, line int) {
	t.Helper()
	if len(points) != 1 {
		t.Fatalf("%d breakpoints, want 1: %+v", len(points), points)
	}
	p := points[0]
	if !p.Verified {
		t.Fatalf("the breakpoint in %s is not verified: %s", file, p.Message)
	}
	if p.Source == nil || p.Source.Path != file {
		t.Fatalf("the breakpoint is in %+v, want %s", p.Source, file)
	}
	if line != 0 && p.Line != line {
		t.Fatalf("the breakpoint in %s is at line %d, want %d", file, p.Line, line)
	}
}

// checkTop fails the test unless the first frame of the stack is at that place.
func checkTop(t testing.TB, frames []dap.StackFrame, file string, line int) {
	t.Helper()
	if len(frames) == 0 {
		t.Fatal("the stack has no frames")
	}
	if at := placeOf(frames[0]); at != fmt.Sprintf("%s:%d", file, line) {
		t.Fatalf("stopped in %s at %s, want %s:%d", frames[0].Name, at, file, line)
	}
}

// placeOf returns the file and the line of a frame.
func placeOf(f dap.StackFrame) string {
	if f.Source == nil {
		return "no file"
	}
	return fmt.Sprintf("%s:%d", f.Source.Path, f.Line)
}

// checkContains fails the test unless the text has all of the parts. what names it.
func checkContains(t testing.TB, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}
