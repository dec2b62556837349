//go:build linux

package worker

import (
	"encoding/json"
	"fmt"
	"syscall"
	"time"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
)

// haltNow serves a halt: it ends all commands until the target is halted. If it
// already is, Delve must not be asked, or the next command would stop at once
// (service/api, Halt).
func (s *rpcSession) haltNow(json.RawMessage) (any, error) {
	deadline := time.NewTimer(haltTimeout)
	defer deadline.Stop()
	for {
		if resumed := s.currentResume(); resumed != nil && !s.halt(resumed, deadline.C) {
			return nil, fmt.Errorf("the target did not halt within %s", haltTimeout)
		}
		state, err := s.currentState()
		if err != nil {
			return nil, err
		}
		if !state.Running {
			return rpc2.CommandOut{State: *state}, nil
		}
		select { // a command has started meanwhile, or one only switches threads or goroutines
		case <-deadline.C:
			return nil, fmt.Errorf("the target did not halt within %s", haltTimeout)
		case <-time.After(haltPause):
		}
	}
}

// currentState returns the state without waiting for a stop.
func (s *rpcSession) currentState() (*api.DebuggerState, error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	return s.d.State(true)
}

// halt keeps halting the target, if it runs, until ended is closed, and reports whether
// that happened before the deadline. A halt that Delve takes just before a resume is lost
// (pkg/proc, TargetGroup.Continue) and blocks until the next stop, so it is repeated
// in another goroutine.
func (s *rpcSession) halt(ended <-chan struct{}, deadline <-chan time.Time) bool {
	for pause := endPause; ; pause = min(2*pause, time.Second) {
		s.requestHalt()
		select {
		case <-ended:
			return true
		case <-deadline:
			return false
		case <-time.After(pause):
		}
	}
}

// requestHalt asks Delve to halt the target, if it runs.
func (s *rpcSession) requestHalt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.d.IsRunning() {
		return
	}
	s.pendingHalts++
	s.haltedSince = true
	s.halts.Go(func() {
		s.d.Command(&api.DebuggerCommand{Name: api.Halt}, nil, nil, nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pendingHalts--
		s.haltTaken.Broadcast()
	})
}

// waitForHalts waits until no halt is left that could reach Delve while the next
// command runs, and end that command instead of the one it was meant for. It reports
// whether a halt was requested since the last command.
func (s *rpcSession) waitForHalts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.pendingHalts > 0 {
		s.haltTaken.Wait()
	}
	late := s.haltedSince
	s.haltedSince = false
	return late
}

// dropTrap consumes the SIGTRAP of a halt that came after the target had stopped
// (pkg/proc/native, requestManualStop), by a step whose result is ignored. Otherwise a
// step off a breakpoint would take it for its own end and stop there again without
// having executed an instruction.
func (s *rpcSession) dropTrap() {
	mask, err := procfs.ReadPendingSignals(s.d.pid)
	if err != nil || mask&(1<<(syscall.SIGTRAP-1)) == 0 || !s.d.isOnThread() {
		return
	}
	if _, err := s.d.Command(&api.DebuggerCommand{Name: api.StepInstruction}, nil, nil, nil); err != nil {
		s.d.log.Debug("taking the signal of a late halt", "error", err)
	}
}
