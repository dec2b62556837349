//go:build linux

package worker

import (
	"context"
	"errors"
	"os"

	"github.com/dapbridge/dapbridge/internal/agent/functable"
	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

func (w *worker) attach(ctx context.Context, p supervisor.WorkerAttachParams) (r supervisor.WorkerAttachResult, err error) {
	if err := w.lock(ctx); err != nil {
		return r, err
	}
	defer w.unlock()
	if w.session != nil {
		return r, api.ToRPC(diag.Errorf(diag.Internal, "the worker already has a session"))
	}
	if err := w.prepare(p); err != nil {
		return r, api.ToRPC(err)
	}
	j, err := w.waitJoin(ctx, p.Token)
	if err != nil {
		w.detach()
		if why := w.preemptReason(); why != "" {
			err = diag.Errorf(diag.TargetGone, "%s", why)
		}
		return r, api.ToRPC(err)
	}
	r.FunctionTable = w.table
	w.session = startSession(w.backend(), j, p)
	s := w.session
	w.wg.Go(func() { w.watchSession(s) })
	return r, nil
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
	if p.GoVersion != "" {
		if w.table, err = writeFunctionTable(p); err != nil {
			return err
		}
	}
	w.debuggee, err = attach(w.attachCtx, p.PID, p.Symbols, w.cfg.Log)
	return err
}

// writeFunctionTable writes what the function table of a stripped target gives to where
// Delve finds it, while the target still runs.
func writeFunctionTable(p supervisor.WorkerAttachParams) (*api.FunctionTable, error) {
	f, err := os.OpenFile(p.DebugFile(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	r, err := functable.Write(f, p.PID, p.GoVersion)
	switch err = errors.Join(err, f.Close()); {
	case err == nil:
		return &api.FunctionTable{Functions: r.Functions, NoGoroutines: r.NoGoroutines}, nil
	case hasProcessEnded(p.PID):
		return nil, diag.Errorf(diag.TargetGone, "pid %d has ended", p.PID)
	}
	return nil, diag.Errorf(diag.TargetStripped, "pid %d carries no debug information, and its function table cannot be used: %w", p.PID, err)
}

// backend returns what serves the session under way.
func (w *worker) backend() backend {
	if w.foreign != nil {
		return w.foreign
	}
	return w.debuggee
}
