//go:build linux

package supervisor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// Descriptors of a worker besides its standard ones: standard input carries
// the supervisor's requests, descriptors 1 and 2 are its log.
const (
	WorkerAnswers = 3 // the worker's answers to the supervisor
	WorkerJoins   = 4 // the listening socket for `agent join`
)

// A worker's command line, whatever file it runs.
const (
	workerName    = "dapbridge"
	workerCommand = workerName + " agent worker"
)

// Methods that the supervisor calls on a worker.
const (
	WorkerAttach  = api.MethodAttach  // WorkerAttachParams
	WorkerEnd     = api.MethodEnd     // -> WorkerEndResult
	WorkerRelease = api.MethodRelease // the worker exits after its answer
	WorkerCancel  = api.MethodCancel  // handled by CancelCall
	WorkerEnded   = api.NotifyEnded   // Ended
)

// WorkerAttachParams asks a worker to attach, if it has not yet, and to serve
// the session whose descriptors come with the token.
type WorkerAttachParams struct {
	PID      int                 `json:"pid"`
	Token    string              `json:"token"`
	Protocol api.SessionProtocol `json:"protocol"`
	Linger   time.Duration       `json:"linger"`

	Symbols string `json:"symbols,omitempty"` // directory with the debug file of a stripped target
}

// WorkerEndResult says whether the worker stays attached, and why the session had
// ended before, if somebody else on the node wanted it to ([LetGo]).
type WorkerEndResult struct {
	Lingers bool   `json:"lingers"`
	Reason  string `json:"reason,omitempty"`
}

// workerProc is a worker as its supervisor sees it.
type workerProc struct {
	cmd      *exec.Cmd
	rpc      *jrpc2.Client
	exited   chan struct{}             // closed when the process has been waited for
	last     atomic.Pointer[api.Ended] // why the session ended, when the worker said so
	attached *process                  // what it has attached to; nil before. Under the supervisor's turn
	target   api.Process               // the same, as it was then
}

// overseer is told what happens to a worker, each time from a goroutine of the
// worker's that waits for nothing else.
type workerObserver interface {
	onSessionEnd(reason string)                // and the worker lingers
	onWorkerExit(w *workerProc, reason string) // once for each worker
	onLog(level, text string)
}

// startWorker starts a worker that inherits ln.
func startWorker(c Config, ln *net.UnixListener, o workerObserver) (*workerProc, error) {
	joins, err := ln.File()
	if err != nil {
		return nil, err
	}
	defer joins.Close()
	fromWorker, answers, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer answers.Close()
	cmd := exec.Command(c.WorkerArgv[0], c.WorkerArgv[1:]...)
	cmd.Args[0] = workerName // for people, and for other agents
	cmd.ExtraFiles = []*os.File{answers, joins}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // signals for the supervisor's group are not for it
	requests, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	w := &workerProc{cmd: cmd, exited: make(chan struct{})}
	w.rpc = jrpc2.NewClient(api.NewLineChannel(fromWorker, requests, nil), &jrpc2.ClientOptions{
		OnCancel: sendCancel,
		OnNotify: func(r *jrpc2.Request) {
			e := &api.Ended{}
			if r.Method() != WorkerEnded || r.UnmarshalParams(e) != nil {
				return
			}
			w.last.Store(e)
			if e.Lingers {
				o.onSessionEnd(e.Reason)
			}
		},
	})
	go func() {
		w.forwardLog(out, o)
		fromWorker.Close()
		o.onWorkerExit(w, w.exitReason())
	}()
	return w, nil
}

// watch forwards the worker's log until its end and waits for the process.
func (w *workerProc) forwardLog(out io.Reader, o workerObserver) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		o.onLog("debug", "worker: "+lines.Text())
	}
	io.Copy(io.Discard, out)
	w.cmd.Wait()
	w.rpc.Close() // returns when its last word has been heard
	close(w.exited)
}

// reason says why a worker that has exited did so.
func (w *workerProc) exitReason() string {
	if e := w.last.Load(); e != nil && w.cmd.ProcessState.Success() {
		return e.Reason
	}
	return "the debugger ended: " + w.cmd.ProcessState.String()
}

func (w *workerProc) pid() int { return w.cmd.Process.Pid }

func (w *workerProc) hasExited() bool {
	select {
	case <-w.exited:
		return true
	default:
		return false
	}
}

func (w *workerProc) attach(ctx context.Context, p api.Process, a api.AttachParams, symbols string) error {
	w.attached, w.target = &process{PID: p.PID, StartTicks: p.StartTicks}, p
	_, err := w.rpc.Call(ctx, WorkerAttach, WorkerAttachParams{
		PID: p.PID, Token: a.Token, Protocol: a.Protocol, Linger: a.Linger, Symbols: symbols,
	})
	return w.explainError(err)
}

// end ends the worker's session.
func (w *workerProc) end() (r WorkerEndResult, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	err = w.rpc.CallResult(ctx, WorkerEnd, nil, &r)
	return r, w.explainError(err)
}

// release makes the worker detach and exit; it is killed if it has not after
// the timeout. On return the process is gone.
func (w *workerProc) release(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err := w.rpc.Call(ctx, WorkerRelease, nil)
	select {
	case <-w.exited:
		return nil // how it went is for settle to see
	case <-ctx.Done():
	}
	w.cmd.Process.Kill()
	<-w.exited
	return diag.Errorf(diag.DetachFailed, "the worker was ended by force after %s: %w", timeout, w.explainError(err))
}

// explain prefers the worker's own error to that of the broken pipe to it.
func (w *workerProc) explainError(err error) error {
	if err == nil {
		return nil
	}
	if w.hasExited() {
		return diag.Errorf(diag.AttachFailed, "the debugger ended: %s", w.cmd.ProcessState)
	}
	return api.FromRPC(err)
}
