package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// released waits until nobody traces the sample and none of its threads is stopped.
func (s *sample) released(ctx context.Context) error {
	err := s.poll(ctx, func() error { return untraced(s.pid()) })
	if err != nil {
		return diag.Errorf(diag.DetachFailed, "the sample is not free: %w", err)
	}
	return nil
}

// alive checks that the sample is the process that was started, free, and at work.
func (s *sample) alive(ctx context.Context) error {
	if err := s.released(ctx); err != nil {
		return err
	}
	if born, err := startTime(s.pid()); err != nil || born != s.born {
		return errors.Join(fmt.Errorf("pid %d is not the sample any more", s.pid()), err)
	}
	if err := s.beats(ctx); err != nil {
		return err
	}
	return s.released(ctx) // nor has anybody come back
}

// untraced says what /proc shows against a process being free.
func untraced(pid int) error {
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return err
	}
	if tracer := field(string(status), "TracerPid:"); tracer != "0" {
		return fmt.Errorf("pid %d is traced by %s", pid, tracer)
	}
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		status, err := os.ReadFile(filepath.Join(dir, "task", t.Name(), "status"))
		if err != nil {
			continue // the thread has ended
		}
		if state := field(string(status), "State:"); strings.HasPrefix(strings.ToLower(state), "t") {
			return fmt.Errorf("thread %s is in state %s", t.Name(), state)
		}
	}
	return nil
}

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// startTime is the 22nd field of /proc/PID/stat, see proc(5).
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is a name in parentheses that may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has no start time", pid)
	}
	return fields[19], nil
}
