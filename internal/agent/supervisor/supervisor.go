//go:build linux

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// releaseTimeout bounds how long a worker may take to let the target go before
// the supervisor ends the worker and repairs what is left.
const releaseTimeout = 60 * time.Second

// SupervisorConfig is what the supervisor needs from its command line.
type Config struct {
	Protocol     int // the daemon's
	Version      string
	Capabilities json.RawMessage // body of Delve's answer to initialize
	Debugger     api.Debugger
	Selector     api.Selector
	Dlv          Dlv           // the debugger, in place of a worker's own
	Lease        time.Duration // how long without a word from the daemon
	// Hold waits while the target is being swapped, and keeps it from being swapped
	// until release is called; nil if nobody swaps it.
	PreventSwap func(context.Context) (release func(), err error)
	NoSession   bool      // the daemon wants no session, and does not wait for another's end
	WorkerArgv  []string  // starts a worker
	In          io.Reader // the link
	Out         io.WriteCloser
	Log         *slog.Logger
}

// Supervise runs the supervisor until the daemon releases it, the link ends,
// the lease runs out or ctx ends. Whatever the reason, the target is running,
// untraced and whole when it returns nil.
func Supervise(ctx context.Context, c Config) error {
	if c.Protocol != api.Protocol {
		err := diag.Errorf(diag.AgentProtocol, "this agent speaks protocol %d, the daemon %d", api.Protocol, c.Protocol)
		return errors.Join(err, writeHello(c.Out, newHello(c.Version))) // which says so to the daemon
	}
	ln, err := listenJoin()
	if err != nil {
		return err
	}
	defer ln.Close()
	s := &supervisor{cfg: c, ln: ln, turn: make(chan struct{}, 1), stop: make(chan string, 1)}
	s.renewLease()
	if err := s.sendHello(ctx); err != nil {
		return err
	}
	return s.serve(ctx)
}

// supervisor serves one daemon. The turn serialises what concerns the worker;
// everything else is only read.
type supervisor struct {
	cfg         Config
	ln          *net.UnixListener // inherited by each worker; the supervisor never accepts
	rpc         *jrpc2.Server
	lastMessage atomic.Int64 // when the daemon was last heard, Unix ns
	stop        chan string  // why the supervisor should go; holds one
	names       sourceNames

	turn     chan struct{} // holds a token while somebody works with the fields below
	worker   *workerProc   // started, attached or not; nil before the first is needed
	reason   string        // why the last session ended by itself, "" if it did not
	stopping bool          // the supervisor leaves: nobody gets the turn any more
}

func (s *supervisor) renewLease() { s.lastMessage.Store(time.Now().UnixNano()) }

func (s *supervisor) sendHello(ctx context.Context) error {
	h := newHello(s.cfg.Version)
	h.PID, h.Socket, h.Capabilities, h.Debugger = os.Getpid(), s.ln.Addr().String(), s.cfg.Capabilities, s.cfg.Debugger
	t, err := s.checkDebuggable(ctx, 0)
	if err == nil {
		h.Target = &t
	} else {
		h.TargetError = toDiag(err)
	}
	return writeHello(s.cfg.Out, h)
}

// newHello describes this process.
func newHello(version string) api.Hello {
	return api.Hello{Protocol: api.Protocol, Version: version, OS: runtime.GOOS, Arch: runtime.GOARCH}
}

func writeHello(w io.Writer, h api.Hello) error {
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

func toDiag(err error) *diag.Error {
	d := &diag.Error{}
	raw, _ := json.Marshal(api.FromRPC(api.ToRPC(err)))
	if json.Unmarshal(raw, d) != nil {
		return diag.Errorf(diag.Internal, "%w", err)
	}
	return d
}

func (s *supervisor) serve(ctx context.Context) error {
	s.rpc = jrpc2.NewServer(handler.Map{
		api.MethodPing:    handler.New(func(context.Context) error { return nil }),
		api.MethodTarget:  handler.New(wrap(s.currentTarget)),
		api.MethodList:    handler.New(wrap(procfs.ListCandidates)),
		api.MethodSources: handler.New(readSources),
		api.MethodSource:  handler.New(s.names.readSource),
		api.MethodLines:   handler.New(s.names.readLines),
		api.MethodAttach:  handler.New(s.attach),
		api.MethodEnd:     handler.New(s.end),
		api.MethodRelease: handler.New(s.release),
		api.MethodCancel:  handler.New(CancelCall),

		api.MethodOptimisation: handler.New(wrap(s.readOptimisation)),
		api.MethodMachine:      handler.New(wrap(s.describeMachine)),

		api.MethodOrigin:      handler.New(wrap(s.readOrigin)),
		api.MethodFingerprint: handler.New(wrap(s.readFingerprint)),
		api.MethodBlocks:      handler.New(s.readBlocks),
		api.MethodShapes:      handler.New(wrap(s.readShapes)),
		api.MethodFunction:    handler.New(s.readFunction),
		api.MethodWords:       handler.New(s.readWords),
		api.MethodStrings:     handler.New(s.readStrings),

		api.MethodHasSymbols:    handler.New(s.hasSymbols),
		api.MethodRemoveSymbols: handler.New(s.removeSymbols),
	}, &jrpc2.ServerOptions{AllowPush: true, Concurrency: 8})
	s.rpc.Start(api.NewLineChannel(s.cfg.In, s.cfg.Out, s.renewLease))
	ended := make(chan struct{})
	go func() { defer close(ended); s.rpc.Wait() }()
	go s.prestartWorker()

	reason := s.waitForStop(ctx, ended)
	s.cfg.Log.Info("the agent leaves", "reason", reason)
	err := s.shutDown()
	if reason == reasonReleased {
		<-ended // the daemon closes the link once it has the answer
	}
	return err
}

const reasonReleased = "released by the daemon"

func (s *supervisor) waitForStop(ctx context.Context, ended <-chan struct{}) string {
	tick := time.NewTicker(max(s.cfg.Lease/20, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "signal"
		case <-ended:
			return "the link ended"
		case reason := <-s.stop:
			return reason
		case now := <-tick.C:
			if now.UnixNano()-s.lastMessage.Load() > int64(s.cfg.Lease) {
				return "the lease ran out"
			}
		}
	}
}

// wrap makes a handler function whose errors keep their code over the link.
func wrap[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		v, err := f(ctx)
		return v, api.ToRPC(err)
	}
}

// take waits for its turn with the worker; the caller gives it back.
func (s *supervisor) lock(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		if s.stopping {
			s.unlock()
			return api.ToRPC(diag.Errorf(diag.LinkLost, "the agent is leaving"))
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *supervisor) unlock() { <-s.turn }

// target is the target as it is now.
func (s *supervisor) currentTarget(ctx context.Context) (api.Target, error) {
	return s.findTarget(ctx, false)
}

// find looks for the target and reads what its executable says. idle is for a
// debugger that is not ours: it must have no client.
func (s *supervisor) findTarget(ctx context.Context, idle bool) (api.Target, error) {
	p, err := s.findProcess(ctx, idle)
	if err != nil {
		return api.Target{}, err
	}
	b, err := procfs.InspectExe(p.PID, (*exe.File).Build)
	if err != nil {
		return api.Target{}, err
	}
	return api.Target{Process: p, Build: *b}, nil
}

func (s *supervisor) findProcess(ctx context.Context, idle bool) (api.Process, error) {
	if s.cfg.Dlv != "" {
		return s.cfg.Dlv.findTarget(ctx, s.cfg.Selector, idle)
	}
	return procfs.Find(ctx, s.cfg.Selector)
}

// debuggable finds the target and refuses what a session could not use,
// before anything is changed. own is a tracer that is no obstacle.
func (s *supervisor) checkDebuggable(ctx context.Context, own int) (api.Target, error) {
	t, err := s.findTarget(ctx, true)
	if err != nil || s.cfg.Dlv != "" { // which is the tracer
		return t, err
	}
	timeout := leaveTimeout
	if s.cfg.NoSession {
		timeout = 0
	}
	if tracer, comm := findForeignTracer(ctx, t.PID, own, timeout); tracer != 0 {
		return t, NewTracedError(t.PID, tracer, comm)
	}
	return t, nil
}

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
	var symbols string
	if s.cfg.Dlv == "" { // which has found them by itself
		if symbols, err = findSymbols(t, p.Symbols); err != nil {
			return api.AttachResult{}, api.ToRPC(err)
		}
	}
	if w.attached != nil && !w.attached.matches(t.Process) {
		// It lingers on a process that has been replaced since.
		if err := s.retireWorker(w); err != nil {
			return api.AttachResult{}, api.ToRPC(err)
		}
		if w, err = s.readyWorker(); err != nil {
			return api.AttachResult{}, api.ToRPC(err)
		}
	}
	s.reason = ""
	first := w.attached == nil
	if err := w.attach(ctx, t.Process, p, symbols); err != nil {
		return api.AttachResult{}, api.ToRPC(firstError(err, s.retireWorker(w)))
	}
	if first && s.cfg.Dlv == "" {
		go s.watchTarget(w, *w.attached)
	}
	return api.AttachResult{Target: t}, nil
}

// free returns a worker without a session: a fresh one, or one that lingers. A
// session that is just ending is waited for. The caller has the turn.
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

// end ends the session that the worker serves, and returns when the target is
// let go or lingers.
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
	if err != nil { // it was leaving by itself, or died; what counts is how it left the target
		r.Reason = w.exitReason()
	}
	if fate := w.describeExit(ctx); fate != "" && ended.Reason == "" {
		r.Reason = fate
	}
	go s.prestartWorker()
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

// letGo ends the worker and sees to it that the target is whole; nothing begins
// after it. It may be called again.
func (s *supervisor) shutDown() error {
	s.turn <- struct{}{}
	defer s.unlock()
	s.stopping = true
	if s.worker == nil {
		return nil
	}
	return s.retireWorker(s.worker)
}

// ready returns the worker, starting one if need be. The caller has the turn.
func (s *supervisor) readyWorker() (*workerProc, error) {
	if s.worker != nil && !s.worker.hasExited() {
		return s.worker, nil
	}
	w, err := startWorker(s.cfg, s.ln, s)
	if err != nil {
		return nil, err
	}
	s.worker = w
	return w, nil
}

// prestart has a worker ready before it is asked for, which saves its start
// from the attach.
func (s *supervisor) prestartWorker() {
	if s.lock(context.Background()) == nil {
		defer s.unlock()
		if _, err := s.readyWorker(); err != nil {
			s.cfg.Log.Error("starting a worker", "error", err)
		}
	}
}

// retire makes the worker let the target go and leave, by force if it must,
// and repairs the target if it had to. The caller has the turn.
func (s *supervisor) retireWorker(w *workerProc) error {
	s.worker = nil
	if err := w.release(releaseTimeout); err != nil {
		s.cfg.Log.Error("a worker did not let go", "error", err)
	}
	if w.attached == nil {
		return nil
	}
	killed := !w.cmd.ProcessState.Success()
	if s.cfg.Dlv != "" {
		if s.cfg.Dlv.isTracing(w.attached.PID) {
			return nil // what the dlv does to its target is its own
		}
		killed = true // or it has detached, which leaves nothing to repair
	}
	return ensureReleased(*w.attached, killed, s.cfg.Log)
}

// sessionEnded is called when a worker ended its session unasked and lingers.
func (s *supervisor) onSessionEnd(reason string) {
	s.notify(api.NotifyEnded, api.Ended{Reason: reason})
}

// workerExited is called when a worker's process has ended, asked or not.
func (s *supervisor) onWorkerExit(w *workerProc, reason string) {
	if s.lock(context.Background()) != nil {
		return
	}
	if s.worker != w {
		s.unlock()
		return // retired meanwhile, which whoever did it has reported
	}
	attached := w.attached != nil
	if err := s.retireWorker(w); err != nil {
		reason += "; " + err.Error()
	}
	if fate := w.describeExit(context.Background()); fate != "" {
		reason = fate
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
		s.cfg.Log.Debug("telling the daemon", "method", method, "error", err)
	}
}
