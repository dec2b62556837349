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
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// A worker's descriptors besides the standard ones: standard input carries the
// supervisor's requests, and descriptors 1 and 2 the worker's log.
const (
	WorkerAnswers = 3 // the worker's answers to the supervisor
	WorkerJoins   = 4 // the listening socket for `agent join`
)

// The command line of a worker, whatever its executable is called.
const (
	workerName    = "dapbridge"
	workerCommand = workerName + " agent worker"
)

// Methods that the supervisor calls on a worker.
const (
	WorkerAttach  = api.MethodAttach  // WorkerAttachParams -> WorkerAttachResult
	WorkerEnd     = api.MethodEnd     // -> WorkerEndResult
	WorkerRelease = api.MethodRelease // the worker exits after its answer
	WorkerCancel  = api.MethodCancel  // handled by CancelCall
	WorkerEnded   = api.NotifyEnded   // Ended
)

// WorkerAttachParams asks a worker to attach, unless it is attached, and to serve the
// session whose descriptors arrive with the token.
type WorkerAttachParams struct {
	PID      int                 `json:"pid"`
	Token    string              `json:"token"`
	Protocol api.SessionProtocol `json:"protocol"`
	Linger   time.Duration       `json:"linger"`

	// Symbols is the directory with the debug file of a stripped target. With GoVersion,
	// the target's, the worker itself writes it there, as the function table gives it.
	Symbols   string `json:"symbols,omitempty"`
	GoVersion string `json:"goVersion,omitempty"`
}

// DebugFile is the path of the debug file in WorkerAttachParams.Symbols.
func (p WorkerAttachParams) DebugFile() string { return filepath.Join(p.Symbols, debugName) }

// WorkerAttachResult says what the function table gave if the target is debugged with it.
type WorkerAttachResult struct {
	FunctionTable *api.FunctionTable `json:"functionTable,omitempty"`
}

// WorkerEndResult says whether the worker stays attached, and why it had already ended
// the session if another process on the node requested that ([ReleaseTarget]).
type WorkerEndResult struct {
	Lingers bool   `json:"lingers"`
	Reason  string `json:"reason,omitempty"`
}

// workerProc is the supervisor's view of a worker.
type workerProc struct {
	cmd       *exec.Cmd
	rpc       *jrpc2.Client
	answers   io.Closer                 // the pipe that rpc reads
	log       io.Reader                 // the worker's standard output and error
	exited    chan struct{}             // closed when the process has exited and its log was read
	lastEnded atomic.Pointer[api.Ended] // why the session ended, if the worker reported it
	attached  *process                  // nil until it attaches; protected by the supervisor's lock
	target    api.Process               // the same process, as it was when attaching
	debugInfo string                    // the source of its debug information
}

// workerObserver is notified of what happens to a worker. The methods are called from
// goroutines of the worker's own and may block.
type workerObserver interface {
	onSessionEnd(reason string)                // the worker ended its session by itself, and lingers
	onWorkerExit(w *workerProc, reason string) // the process has exited; called once
	onLog(level, text string)
}

// startWorker starts a worker that inherits ln. The caller must call run.
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
	cmd.Args[0] = workerName // for people who look at ps, and for other agents
	cmd.ExtraFiles = []*os.File{answers, joins}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that signals to the supervisor's group don't reach it
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
	w := &workerProc{cmd: cmd, answers: fromWorker, log: out, exited: make(chan struct{})}
	w.rpc = jrpc2.NewClient(api.NewLineChannel(fromWorker, requests, nil), &jrpc2.ClientOptions{
		OnCancel: sendCancel,
		OnNotify: func(r *jrpc2.Request) {
			e := &api.Ended{}
			if r.Method() != WorkerEnded || r.UnmarshalParams(e) != nil {
				return
			}
			w.lastEnded.Store(e)
			if e.Lingers {
				o.onSessionEnd(e.Reason)
			}
		},
	})
	return w, nil
}

// run forwards the worker's log until the process has exited, and reports the exit.
func (w *workerProc) run(o workerObserver) {
	lines := bufio.NewScanner(w.log)
	for lines.Scan() {
		o.onLog("debug", "worker: "+lines.Text())
	}
	io.Copy(io.Discard, w.log)
	w.cmd.Wait()
	w.rpc.Close() // returns after the last notification was handled
	close(w.exited)
	w.answers.Close()
	o.onWorkerExit(w, w.exitReason())
}

// exitReason says why a worker that has exited did so.
func (w *workerProc) exitReason() string {
	if e := w.lastEnded.Load(); e != nil && w.cmd.ProcessState.Success() {
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

func (w *workerProc) attach(ctx context.Context, p api.Process, a api.AttachParams, d debugInfo) (r WorkerAttachResult, err error) {
	w.attached, w.target, w.debugInfo = &process{PID: p.PID, StartTicks: p.StartTicks}, p, d.source
	err = w.rpc.CallResult(ctx, WorkerAttach, WorkerAttachParams{
		PID: p.PID, Token: a.Token, Protocol: a.Protocol, Linger: a.Linger, Symbols: d.dir, GoVersion: d.goVersion,
	}, &r)
	return r, w.explainError(err)
}

// end asks the worker to end its session.
func (w *workerProc) end() (r WorkerEndResult, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	err = w.rpc.CallResult(ctx, WorkerEnd, nil, &r)
	return r, w.explainError(err)
}

// release makes the worker detach and exit, and kills it after the timeout. On return
// the process has exited.
func (w *workerProc) release(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err := w.rpc.Call(ctx, WorkerRelease, nil)
	select {
	case <-w.exited:
		return nil // ensureReleased checks the outcome
	case <-ctx.Done():
	}
	w.cmd.Process.Kill()
	<-w.exited
	return diag.Errorf(diag.DetachFailed, "killed a worker that did not exit within %s: %w", timeout, w.explainError(err))
}

// explainError returns the worker's own error, or says that the worker has exited.
func (w *workerProc) explainError(err error) error {
	if err == nil {
		return nil
	}
	if w.hasExited() {
		return diag.Errorf(diag.AttachFailed, "the debugger ended: %s", w.cmd.ProcessState)
	}
	return api.FromRPC(err)
}
