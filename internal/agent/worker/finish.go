//go:build linux

package worker

import (
	"context"
	"errors"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
)

// watchSession finishes a session whose stream has ended, and tells the supervisor.
func (w *worker) watchSession(s *session) {
	<-s.done
	if w.lock(context.Background()) != nil {
		return
	}
	defer w.unlock()
	if w.session != s {
		return // ended by a request
	}
	err := w.finishSession(s)
	reason := "its channel was closed"
	if err != nil {
		reason = err.Error()
	}
	w.rpc.Notify(context.Background(), supervisor.WorkerEnded, api.Ended{Reason: reason, Lingers: w.debuggee != nil})
	if w.debuggee == nil {
		w.quit()
	}
}

func (w *worker) endSession(ctx context.Context) (supervisor.WorkerEndResult, error) {
	if err := w.lock(ctx); err != nil {
		return supervisor.WorkerEndResult{}, err
	}
	defer w.unlock()
	if w.session == nil {
		return supervisor.WorkerEndResult{Lingers: w.debuggee != nil, Reason: w.preemptReason()}, nil
	}
	w.session.end(w.backend())
	err := w.finishSession(w.session)
	return supervisor.WorkerEndResult{Lingers: w.debuggee != nil}, api.ToRPC(err)
}

// finishSession releases the target, or lets it run while the worker stays attached
// for the session's linger time. The session's stream has ended. The caller holds the
// lock.
func (w *worker) finishSession(s *session) error {
	w.session = nil
	if s.linger <= 0 || w.foreign != nil {
		return w.detach()
	}
	if err := w.debuggee.quiesce(); err != nil {
		if w.debuggee.hasEnded() {
			err = nil
		}
		return errors.Join(err, w.detach())
	}
	stopped := w.debuggee.resume()
	w.linger = time.AfterFunc(s.linger, w.endLinger)
	w.wg.Go(func() { // stopped by a panic's breakpoint or an exit: neither may wait for a client
		<-stopped
		w.endLinger()
	})
	return nil
}

// endLinger detaches if no session has come in time.
func (w *worker) endLinger() {
	if w.lock(context.Background()) != nil {
		return
	}
	defer w.unlock()
	if w.session != nil || w.debuggee == nil || w.linger == nil {
		return
	}
	w.linger.Stop()
	w.linger = nil
	if err := w.detach(); err != nil {
		w.cfg.Log.Error("cannot detach after lingering", "error", err)
	}
	w.quit()
}

// detach releases the target. The caller holds the lock.
func (w *worker) detach() error {
	d, f := w.debuggee, w.foreign
	w.debuggee, w.foreign = nil, nil
	switch {
	case f != nil:
		return f.release()
	case d != nil:
		return d.release()
	}
	return nil
}
