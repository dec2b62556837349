//go:build linux

// Package worker is the process on the node that traces the target; Delve is used here
// and nowhere else. It owns Delve's debugger (service/debugger) and runs a DAP session
// (service/dap) or a JSON-RPC session (rpcsession.go) on it for each client, so that
// halting, draining and detaching are calls within the process and none of them waits
// for a client.
//
// A worker attaches to one process. However its session ends (by a request of the
// supervisor, by the end of the client's stream, by the supervisor's death), the
// worker clears the session's breakpoints, lets the target run and detaches.
package worker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/channel"
	"github.com/creachadair/jrpc2/handler"
	"github.com/go-delve/delve/pkg/logflags"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// Config configures a worker.
type Config struct {
	Requests io.Reader      // from the supervisor; the worker exits at its end
	Answers  io.WriteCloser // to the supervisor
	Joins    *net.UnixListener
	Log      *slog.Logger
	DelveLog string         // Delve's own log: comma-separated layers, "" for none
	Dlv      supervisor.Dlv // serves the sessions instead of our own Delve; "" for none
}

// Run serves the supervisor until it asks the worker to exit or is gone, and returns
// with the target released. It must run on the main goroutine of a process whose main
// goroutine is locked to the main thread: if Delve's attach fails half way, it leaves
// a thread of the target traced by the thread that tried, which only the exit of that
// thread releases (pkg/proc/native, handlePtraceFuncs); the main thread exits last.
func Run(c Config) error {
	if err := logflags.Setup(c.DelveLog != "", c.DelveLog, ""); err != nil {
		return err
	}
	w := &worker{cfg: c, joins: newRegistry(), sem: make(chan struct{}, 1), quitting: make(chan struct{})}
	w.attachCtx, w.cancelAttach = context.WithCancel(context.Background())
	w.rpc = jrpc2.NewServer(handler.Map{
		supervisor.WorkerAttach:  handler.New(w.attach),
		supervisor.WorkerEnd:     handler.New(w.endSession),
		supervisor.WorkerRelease: handler.New(w.release),
		supervisor.WorkerCancel:  handler.New(supervisor.CancelCall),
	}, &jrpc2.ServerOptions{AllowPush: true, Concurrency: 8})
	w.rpc.Start(channel.Line(c.Requests, c.Answers))
	go w.accept()
	ended := make(chan struct{})
	go func() { defer close(ended); w.rpc.Wait() }() // ends with the process at the latest: it may be reading Requests
	select {
	case <-ended: // the supervisor is gone
	case <-w.quitting:
	}
	err := w.shutDown()
	w.wg.Wait()
	w.rpc.Stop()
	return err
}

// worker serves one supervisor. Its lock serialises requests, and protects the fields
// that follow it.
type worker struct {
	cfg   Config
	rpc   *jrpc2.Server
	joins *registry

	quitOnce     sync.Once
	quitting     chan struct{}
	attachCtx    context.Context // cancelled when the target is to be released: ends waits that hold the lock
	cancelAttach context.CancelFunc

	preemption atomic.Pointer[string] // why another process on the node wants the target released

	wg       sync.WaitGroup // watches the session, and the target while the worker lingers; added to under the lock
	sem      chan struct{}  // holds a token while locked
	debuggee *debuggee      // what Delve is attached to; nil if nothing
	foreign  *foreignDlv    // the dlv used instead; nil without a session
	session  *session       // the session under way; nil if none
	linger   *time.Timer
}

func (w *worker) lock(ctx context.Context) error {
	select {
	case w.sem <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) unlock() { <-w.sem }

// accept receives sessions' descriptors until the process exits. It is not joined: it
// may be waiting for a peer.
func (w *worker) accept() {
	for {
		j, err := supervisor.AcceptJoin(w.cfg.Joins)
		if err != nil {
			return
		}
		if j.ReleaseReason != "" {
			go w.preempt(j)
			continue
		}
		w.joins.put(j)
	}
}

// preempt releases the target for another process on the node, and makes the worker
// exit. It is not joined: only its last step ends Run, unless Run is ending already.
func (w *worker) preempt(j supervisor.JoinRequest) {
	defer j.Close()
	if !w.preemption.CompareAndSwap(nil, &j.ReleaseReason) {
		j.Refuse()
		return
	}
	j.Accept()
	reason := j.ReleaseReason
	if err := w.shutDown(); err != nil {
		reason += "; " + err.Error()
	}
	w.rpc.Notify(context.Background(), supervisor.WorkerEnded, api.Ended{Reason: reason, Preempted: true})
	w.quit()
}

// preemptReason returns why the target was released for another process, "" if it was
// not.
func (w *worker) preemptReason() string {
	if why := w.preemption.Load(); why != nil {
		return *why
	}
	return ""
}

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
	gone := w.debuggee.resume()
	w.linger = time.AfterFunc(s.linger, w.endLinger)
	w.wg.Go(func() { // stopped by a panic's breakpoint or an exit: neither may wait for a client
		<-gone
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

func (w *worker) release(ctx context.Context) error {
	err := w.shutDown()
	w.quit()
	return api.ToRPC(err)
}

// shutDown ends the session, if any, and detaches.
func (w *worker) shutDown() error {
	w.cancelAttach()
	if err := w.lock(context.Background()); err != nil {
		return err
	}
	defer w.unlock()
	if w.session != nil {
		s := w.session
		s.end(w.backend())
		s.linger = 0
		return w.finishSession(s)
	}
	return w.detach()
}

func (w *worker) quit() { w.quitOnce.Do(func() { close(w.quitting) }) }
