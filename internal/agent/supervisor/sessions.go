//go:build linux

package supervisor

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
)

// attach starts a session: it finds the target and hands the session to a worker.
func (s *supervisor) attach(ctx context.Context, p api.AttachParams) (api.AttachResult, error) {
	if s.cfg.PreventSwap != nil {
		release, err := s.cfg.PreventSwap(ctx)
		if err != nil {
			return api.AttachResult{}, api.ToRPC(err)
		}
		defer release()
	}
	if err := s.lock(ctx); err != nil {
		return api.AttachResult{}, err
	}
	defer s.unlock()
	w, err := s.freeWorker()
	if err != nil {
		return api.AttachResult{}, api.ToRPC(err)
	}
	t, err := s.checkDebuggable(ctx, w.pid())
	if err != nil {
		return api.AttachResult{}, api.ToRPC(err)
	}
	var info debugInfo
	if s.cfg.Dlv == "" { // a running dlv has found its symbols by itself
		if info, err = findDebugInfo(t, p); err != nil {
			return api.AttachResult{}, api.ToRPC(err)
		}
		defer info.remove()
	}
	if w, err = s.replaceWorker(w, t, info); err != nil {
		return api.AttachResult{}, api.ToRPC(err)
	}
	s.reason = ""
	first := w.attached == nil
	r, err := w.attach(ctx, t.Process, p, info)
	if err != nil {
		return api.AttachResult{}, api.ToRPC(firstError(err, s.retireWorker(w)))
	}
	if first && s.cfg.Dlv == "" {
		p := *w.attached
		s.wg.Go(func() { s.watchTarget(w, p) })
	}
	return api.AttachResult{Target: t, FunctionTable: r.FunctionTable}, nil
}

// replaceWorker returns the worker, or a new one if it lingers on a process that has been
// replaced since, or of which it knows something else than the session is to. The caller
// holds the lock.
func (s *supervisor) replaceWorker(w *workerProc, t api.Target, d debugInfo) (*workerProc, error) {
	if w.attached == nil || w.attached.matches(t.Process) && w.debugInfo == d.source {
		return w, nil
	}
	if err := s.retireWorker(w); err != nil {
		return nil, err
	}
	return s.readyWorker()
}

// freeWorker returns a worker without a session: a new one, or one that lingers. It
// waits for a session that is ending. The caller holds the lock.
func (s *supervisor) freeWorker() (*workerProc, error) {
	if w := s.worker; w != nil && w.attached != nil {
		if r, err := w.end(); err != nil || !r.Lingers {
			if err := s.retireWorker(w); err != nil {
				return nil, err
			}
		}
	}
	return s.readyWorker()
}

// end ends the worker's session, and returns when the target is released or the worker
// lingers.
func (s *supervisor) end(ctx context.Context) (api.EndResult, error) {
	if err := s.lock(ctx); err != nil {
		return api.EndResult{}, err
	}
	defer s.unlock()
	w := s.worker
	if w == nil || w.attached == nil {
		return api.EndResult{Reason: s.reason}, nil
	}
	ended, err := w.end()
	if err == nil && ended.Lingers {
		return api.EndResult{}, nil
	}
	r := api.EndResult{Reason: ended.Reason}
	retireErr := s.retireWorker(w)
	if err != nil { // it exited by itself; what counts is how it left the target
		r.Reason = w.exitReason()
	}
	if exit := w.describeExit(ctx); exit != "" && ended.Reason == "" {
		r.Reason = exit
	}
	s.wg.Go(s.prestartWorker)
	return r, api.ToRPC(retireErr)
}

func (s *supervisor) release(ctx context.Context) error {
	err := s.shutDown()
	select {
	case s.stop <- reasonReleased:
	default:
	}
	return api.ToRPC(err)
}

// shutDown stops the worker and ensures that the target is released; the supervisor
// cannot be locked afterwards. It may be called more than once.
func (s *supervisor) shutDown() error {
	s.sem <- struct{}{}
	defer s.unlock()
	s.stopping = true
	if s.worker == nil {
		return nil
	}
	return s.retireWorker(s.worker)
}

// readyWorker returns the worker, starting one if there is none. The caller holds the
// lock.
func (s *supervisor) readyWorker() (*workerProc, error) {
	if s.worker != nil && !s.worker.hasExited() {
		return s.worker, nil
	}
	w, err := startWorker(s.cfg, s.ln, s)
	if err != nil {
		return nil, err
	}
	s.worker = w
	s.wg.Go(func() { w.run(s) })
	return w, nil
}

// prestartWorker starts a worker ahead of the next attach, which is then faster.
func (s *supervisor) prestartWorker() {
	if s.lock(context.Background()) == nil {
		defer s.unlock()
		if _, err := s.readyWorker(); err != nil {
			s.cfg.Log.Error("cannot start a worker", "error", err)
		}
	}
}

// retireWorker makes the worker release the target and exit, kills it if it does not,
// and repairs the target if necessary. The caller holds the lock.
func (s *supervisor) retireWorker(w *workerProc) error {
	s.worker = nil
	if err := w.release(releaseTimeout); err != nil {
		s.cfg.Log.Error("a worker did not release the target", "error", err)
	}
	if w.attached == nil {
		return nil
	}
	killed := !w.cmd.ProcessState.Success()
	if s.cfg.Dlv != "" {
		if s.cfg.Dlv.isTracing(w.attached.PID) {
			return nil // its target's state is the dlv's business
		}
		killed = true // or it has detached, and there is nothing to repair
	}
	return ensureReleased(*w.attached, killed, s.cfg.Log)
}

// onSessionEnd implements workerObserver.
func (s *supervisor) onSessionEnd(reason string) {
	s.notify(api.NotifyEnded, api.Ended{Reason: reason})
}

// onWorkerExit implements workerObserver.
func (s *supervisor) onWorkerExit(w *workerProc, reason string) {
	if s.lock(context.Background()) != nil {
		return
	}
	if s.worker != w {
		s.unlock()
		return // retired meanwhile by a caller that reports it
	}
	attached := w.attached != nil
	if err := s.retireWorker(w); err != nil {
		reason += "; " + err.Error()
	}
	if exit := w.describeExit(context.Background()); exit != "" {
		reason = exit
	}
	s.reason = reason
	s.unlock()
	if attached {
		s.notify(api.NotifyEnded, api.Ended{Reason: reason})
		s.prestartWorker()
	}
}

func (s *supervisor) onLog(level, text string) {
	s.notify(api.NotifyLog, api.LogLine{Level: level, Text: text})
}

func (s *supervisor) notify(method string, params any) {
	if err := s.rpc.Notify(context.Background(), method, params); err != nil {
		s.cfg.Log.Debug("cannot notify the daemon", "method", method, "error", err)
	}
}
