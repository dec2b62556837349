package demo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func startSample(t *testing.T) *sample {
	t.Helper()
	s, err := newSample(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.start(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// checkSample calls checkAlive; a short limit saves time if it is expected to fail.
func checkSample(t *testing.T, s *sample, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return s.checkAlive(ctx)
}

func TestSample(t *testing.T) {
	s := startSample(t)
	if err := checkSample(t, s, 10*time.Second); err != nil {
		t.Error(err)
	}
	if s.build == s.workspace {
		t.Error("nothing to map")
	}
	for _, dir := range []string{s.build, s.workspace} {
		source, err := os.ReadFile(filepath.Join(dir, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if line := strings.Split(string(source), "\n")[s.breakpoint-1]; !strings.Contains(line, "r.Image") {
			t.Errorf("the breakpoint is at %q", line)
		}
	}
	if err := s.stdin.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		t.Error("the sample outlives its standard input")
	}
}

func TestCheckAliveDetectsAStoppedSample(t *testing.T) {
	s := startSample(t)
	if err := syscall.Kill(s.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return checkUntraced(s.pid()) != nil })
	if err := checkSample(t, s, time.Second); err == nil || !strings.Contains(err.Error(), "in state T (stopped)") {
		t.Errorf("stopped: %v", err)
	}
	if err := syscall.Kill(s.pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := checkSample(t, s, 10*time.Second); err != nil {
		t.Errorf("continued: %v", err)
	}
}

func TestCheckAliveDetectsAnEndedSample(t *testing.T) {
	s := startSample(t)
	if err := syscall.Kill(s.pid(), syscall.SIGTRAP); err != nil {
		t.Fatal(err)
	}
	<-s.done
	if err := checkSample(t, s, time.Second); err == nil || !strings.Contains(err.Error(), "the sample ended: ") {
		t.Errorf("ended: %v", err)
	}
}

func TestCheckAliveDetectsAnotherProcess(t *testing.T) {
	s := startSample(t)
	s.startTime = "1"
	if err := checkSample(t, s, time.Second); err == nil || !strings.Contains(err.Error(), "no longer the sample") {
		t.Errorf("another: %v", err)
	}
}

func TestBuildFailureShowsTheCompiler(t *testing.T) {
	s := &sample{build: t.TempDir()}
	if err := writeSampleSource(s.build); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.build, "bad.go"), []byte("package main\nvar x int = \"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.compile(t.Context()); err == nil || !strings.Contains(err.Error(), "bad.go:2") {
		t.Errorf("error %v", err)
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	t.Setenv("GOCACHE", t.TempDir()) // cold, and not removable while a compiler still writes there
	s := &sample{build: t.TempDir()}
	if err := writeSampleSource(s.build); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := s.compile(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got the error %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v to end the build", took)
	}
}
