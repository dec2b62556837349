package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// waitUntilReleased waits until the sample has no tracer and no stopped thread.
func (s *sample) waitUntilReleased(ctx context.Context) error {
	err := s.poll(ctx, func() error { return checkUntraced(s.pid()) })
	if err != nil {
		return diag.Errorf(diag.DetachFailed, "the sample is not released: %w", err)
	}
	return nil
}

// checkAlive checks that the sample is still the process that was started, is
// released, and is working.
func (s *sample) checkAlive(ctx context.Context) error {
	if err := s.waitUntilReleased(ctx); err != nil {
		return err
	}
	started, err := readStartTime(s.pid())
	if err != nil {
		return fmt.Errorf("read the sample's start time: %w", err)
	}
	if started != s.startTime {
		return fmt.Errorf("pid %d is no longer the sample", s.pid())
	}
	if err := s.waitForHeartbeats(ctx); err != nil {
		return err
	}
	return s.waitUntilReleased(ctx) // the tracer has not come back
}

// checkUntraced returns an error if /proc shows a tracer or a stopped thread.
func checkUntraced(pid int) error {
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return err
	}
	if tracer := statusField(string(status), "TracerPid:"); tracer != "0" {
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
		if state := statusField(string(status), "State:"); strings.HasPrefix(strings.ToLower(state), "t") {
			return fmt.Errorf("thread %s is in state %s", t.Name(), state)
		}
	}
	return nil
}

// statusField returns the value of a line in /proc/PID/status.
func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// readStartTime returns the 22nd field of /proc/PID/stat, see proc(5).
func readStartTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is a name in parentheses that may contain anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat has no start time", pid)
	}
	return fields[19], nil
}
