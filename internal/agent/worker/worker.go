//go:build linux

// Package worker is the process on the node that traces: Delve stands here and
// nowhere else. It owns Delve's debugger itself (service/debugger) and gives
// each session a DAP session (service/dap) or a JSON-RPC session (rpcsession.go)
// on it, so that halting, draining and detaching are calls in the same process
// and none of them waits for a client.
//
// A worker attaches to one process. Whatever ends its session (a request of
// the supervisor, the client's end of the stream, the supervisor's death) it
// clears the session's breakpoints, lets the target run and detaches.
package worker

import (
	"context"
	"errors"
	"fmt"
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

// Config is what a worker gets from the supervisor that started it.
type Config struct {
	Requests io.Reader      // from the supervisor; its end ends the worker
	Answers  io.WriteCloser // to the supervisor
	Joins    *net.UnixListener
	Log      *slog.Logger
	DelveLog string         // Delve's own log: comma-separated layers, "" for none
	Dlv      supervisor.Dlv // serves the sessions, in place of a Delve of ours; "" for none
}

// Run serves the supervisor until it says so or is gone, and returns with the
// target released. It must run on the main goroutine of a process whose main
// goroutine is locked to the main thread: when Delve's attach fails half way it
// leaves a thread of the target traced by the thread that tried, and only that
// thread's end lets it go (pkg/proc/native, handlePtraceFuncs); the main thread
// does not end.
func Run(c Config) error {
	if err := logflags.Setup(c.DelveLog != "", c.DelveLog, ""); err != nil {
		return err
	}
	w := &worker{cfg: c, joins: newRegistry(), turn: make(chan struct{}, 1), quitting: make(chan struct{})}
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
	go func() { defer close(ended); w.rpc.Wait() }()
	select {
	case <-ended: // the supervisor is gone
	case <-w.quitting:
	}
	err := w.shutDown()
	w.rpc.Stop()
	return err
}

// worker serves one supervisor. The turn serialises requests; session and
// debuggee are used under it.
type worker struct {
	cfg   Config
	rpc   *jrpc2.Server
	joins *registry

	quitOnce     sync.Once
	quitting     chan struct{}
	attachCtx    context.Context // ends when the target is to be let go: who waits under the turn gives up
	cancelAttach context.CancelFunc

	preemption atomic.Pointer[string] // why somebody else on the node wants the target let go

	turn     chan struct{}
	debuggee *debuggee   // what we are attached to; nil when not
	foreign  *foreignDlv // the dlv in its place; nil when no session needs it
	session  *session    // the session under way; nil when none
	linger   *time.Timer
}

func (w *worker) lock(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) unlock() { <-w.turn }

// accept collects sessions' descriptors until the process ends.
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

// yield lets the target go for somebody else on the node, and leaves.
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

// yielded is why the target was let go for somebody else, "" if it was not.
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
		return api.ToRPC(diag.Errorf(diag.Internal, "the worker has a session already"))
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
	go w.watchSession(w.session)
	return nil
}

// joined waits for the session's descriptors.
func (w *worker) waitJoin(ctx context.Context, token string) (supervisor.JoinRequest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.attachCtx, cancel)()
	return w.joins.get(ctx, token)
}

// prepare attaches, or takes over a target that lingers.
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

// backend is what serves the session under way.
func (w *worker) backend() backend {
	if w.foreign != nil {
		return w.foreign
	}
	return w.debuggee
}

// watch ends a session whose stream ended, and tells the supervisor.
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

// finish lets the target go, or lets it run on under us for the session's
// linger. The session's stream has ended. The caller has the turn.
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
	go func() { // a panic's breakpoint, or the end: neither may wait for a client
		<-gone
		w.endLinger()
	}()
	return nil
}

// lingered detaches when no session has come in time.
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
		w.cfg.Log.Error("detaching after the linger", "error", err)
	}
	w.quit()
}

// detach lets the target go. The caller has the turn.
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

// letGo ends the session, if any, and detaches.
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

// registry holds descriptors that came before the session that wants them, and
// the other way round.
type registry struct {
	mu    sync.Mutex
	chans map[string]chan supervisor.JoinRequest
}

func newRegistry() *registry { return &registry{chans: map[string]chan supervisor.JoinRequest{}} }

func (r *registry) channel(token string) chan supervisor.JoinRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chans[token] == nil {
		r.chans[token] = make(chan supervisor.JoinRequest, 1)
	}
	return r.chans[token]
}

func (r *registry) put(j supervisor.JoinRequest) {
	ch := r.channel(j.Token)
	select {
	case ch <- j:
	default: // a token used twice
		j.Refuse()
		return
	}
	time.AfterFunc(supervisor.JoinTimeout, func() {
		select {
		case late := <-ch:
			late.Refuse()
			r.forget(j.Token)
		default:
		}
	})
}

func (r *registry) get(ctx context.Context, token string) (supervisor.JoinRequest, error) {
	defer r.forget(token)
	timer := time.NewTimer(supervisor.JoinTimeout)
	defer timer.Stop()
	select {
	case j := <-r.channel(token):
		if err := j.Accept(); err != nil {
			j.Close()
			return supervisor.JoinRequest{}, fmt.Errorf("the session's own channel ended before it began: %w", err)
		}
		return j, nil
	case <-ctx.Done():
		return supervisor.JoinRequest{}, ctx.Err()
	case <-timer.C:
		return supervisor.JoinRequest{}, fmt.Errorf("the session's own channel did not come within %s", supervisor.JoinTimeout)
	}
}

func (r *registry) forget(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.chans, token)
}
