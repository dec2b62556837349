//go:build linux

// Package worker is the process on the node that traces the target; no other package
// uses Delve. It owns Delve's debugger (service/debugger) and runs a DAP session
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
	go func() { defer close(ended); w.rpc.Wait() }() // may stay blocked reading Requests until the process exits
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

	wg       sync.WaitGroup     // watches the session, and the target while the worker lingers; added to under the lock
	sem      chan struct{}      // holds a token while locked
	debuggee *debuggee          // what Delve is attached to; nil if nothing
	table    *api.FunctionTable // what Delve knows the target by, if it has no debug information
	foreign  *foreignDlv        // the dlv used instead; nil without a session
	session  *session           // the session under way; nil if none
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
