//go:build linux

package worker

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

func (w *worker) attach(ctx context.Context, p supervisor.WorkerAttachParams) error {
	if err := w.lock(ctx); err != nil {
		return err
	}
	defer w.unlock()
	if w.session != nil {
		return api.ToRPC(diag.Errorf(diag.Internal, "the worker already has a session"))
	}
	if err := w.prepare(p); err != nil {
		return api.ToRPC(err)
	}
	j, err := w.waitJoin(ctx, p.Token)
	if err != nil {
		w.detach()
		if why := w.preemptReason(); why != "" {
			err = diag.Errorf(diag.TargetGone, "%s", why)
		}
		return api.ToRPC(err)
	}
	w.session = startSession(w.backend(), j, p)
	s := w.session
	w.wg.Go(func() { w.watchSession(s) })
	return nil
}

// waitJoin waits for the session's descriptors.
func (w *worker) waitJoin(ctx context.Context, token string) (supervisor.JoinRequest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.attachCtx, cancel)()
	return w.joins.get(ctx, token)
}

// prepare attaches, or takes over a target on which the worker lingers.
func (w *worker) prepare(p supervisor.WorkerAttachParams) (err error) {
	if w.linger != nil {
		w.linger.Stop()
		w.linger = nil
	}
	if w.cfg.Dlv != "" {
		w.foreign, err = connectForeign(w.attachCtx, w.cfg.Dlv, w.cfg.Log)
		return err
	}
	if w.debuggee != nil {
		return w.debuggee.stopRunning()
	}
	w.debuggee, err = attach(w.attachCtx, p.PID, p.Symbols, w.cfg.Log)
	return err
}

// backend returns what serves the session under way.
func (w *worker) backend() backend {
	if w.foreign != nil {
		return w.foreign
	}
	return w.debuggee
}
