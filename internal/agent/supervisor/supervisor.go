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
	"sync"
	"sync/atomic"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// releaseTimeout bounds how long a worker may take to release the target before the
// supervisor kills the worker and repairs the target.
const releaseTimeout = 60 * time.Second

// Config configures a supervisor.
type Config struct {
	Protocol     int // the version that the daemon speaks
	Version      string
	Capabilities json.RawMessage // body of Delve's answer to initialize
	Debugger     api.Debugger
	Selector     api.Selector
	Dlv          Dlv           // used instead of a Delve of the worker's own
	Lease        time.Duration // how long to hold the target without a message from the daemon
	// PreventSwap waits until no deploy or restore is swapping the target, and prevents
	// further ones until release is called. It is nil if nothing can swap the target.
	PreventSwap func(context.Context) (release func(), err error)
	NoSession   bool      // the daemon wants no session: don't wait for another agent's worker to exit
	WorkerArgv  []string  // command that starts a worker
	In          io.Reader // the link
	Out         io.WriteCloser
	Log         *slog.Logger
}

// Supervise runs the supervisor until the daemon releases it, the link ends, the lease
// runs out or ctx ends. If it returns nil, the target is running, untraced and without
// breakpoints.
func Supervise(ctx context.Context, c Config) error {
	if c.Protocol != api.Protocol {
		err := diag.Errorf(diag.AgentProtocol, "this agent speaks protocol %d, the daemon %d", api.Protocol, c.Protocol)
		return errors.Join(err, writeHello(c.Out, newHello(c.Version))) // the daemon reads the version in the hello
	}
	ln, err := listenJoin()
	if err != nil {
		return err
	}
	defer ln.Close()
	s := &supervisor{cfg: c, ln: ln, sem: make(chan struct{}, 1), stop: make(chan string, 1)}
	s.renewLease()
	if err := s.sendHello(ctx); err != nil {
		return err
	}
	return s.serve(ctx)
}

// supervisor serves one daemon. Its lock serialises what concerns the worker; all
// other requests only read.
type supervisor struct {
	cfg         Config
	ln          *net.UnixListener // inherited by each worker; the supervisor never accepts
	rpc         *jrpc2.Server
	lastMessage atomic.Int64 // when the daemon's last message arrived, Unix ns
	stop        chan string  // receives the reason to stop; buffers one
	names       sourceNames
	wg          sync.WaitGroup // of the worker, its watchers and prestarts; added to under the lock

	sem      chan struct{} // the lock: holds a token while locked
	worker   *workerProc   // attached or not; nil if none is running
	reason   string        // why the last session ended by itself, "" if it did not
	stopping bool          // the supervisor is stopping: it can't be locked any more
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
		api.MethodContent:     handler.New(s.readContent),
		api.MethodShapes:      handler.New(wrap(s.readShapes)),
		api.MethodFunction:    handler.New(s.readFunction),
		api.MethodWords:       handler.New(s.readWords),
		api.MethodStrings:     handler.New(s.readStrings),

		api.MethodHasSymbols:    handler.New(s.hasSymbols),
		api.MethodRemoveSymbols: handler.New(s.removeSymbols),
	}, &jrpc2.ServerOptions{AllowPush: true, Concurrency: 8})
	s.rpc.Start(api.NewLineChannel(s.cfg.In, s.cfg.Out, s.renewLease))
	ended := make(chan struct{})
	go func() { defer close(ended); s.rpc.Wait() }() // may stay blocked reading the link until the process exits
	s.wg.Go(s.prestartWorker)

	reason := s.waitForStop(ctx, ended)
	s.cfg.Log.Info("the agent stops", "reason", reason)
	err := s.shutDown()
	s.waitForGoroutines()
	if reason == reasonReleased {
		<-ended // the daemon closes the link after it has read the answer
	}
	return err
}

// waitForGoroutines waits for the supervisor's goroutines. One that writes to a link that nobody reads
// does not return: the process's end ends it.
func (s *supervisor) waitForGoroutines() {
	joined := make(chan struct{})
	go func() { defer close(joined); s.wg.Wait() }() // ends with the process if need be
	select {
	case <-joined:
	case <-time.After(goroutinesTimeout):
		s.cfg.Log.Warn("the agent stops although the link takes no more messages")
	}
}

const goroutinesTimeout = 5 * time.Second

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

// wrap returns a handler whose errors keep their code over the link.
func wrap[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		v, err := f(ctx)
		return v, api.ToRPC(err)
	}
}

// lock locks the supervisor. It fails if ctx ends or the supervisor is stopping.
func (s *supervisor) lock(ctx context.Context) error {
	select {
	case s.sem <- struct{}{}:
		if s.stopping {
			s.unlock()
			return api.ToRPC(diag.Errorf(diag.LinkLost, "the agent is stopping"))
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *supervisor) unlock() { <-s.sem }

func (s *supervisor) currentTarget(ctx context.Context) (api.Target, error) {
	return s.findTarget(ctx, false)
}

// findTarget finds the target and reads its build. If idle is set, a dlv that is not
// ours must not have a client.
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

// checkDebuggable finds the target and refuses one that no session could use, before
// anything is changed. own is the pid of our worker, which may trace the target, or 0.
func (s *supervisor) checkDebuggable(ctx context.Context, own int) (api.Target, error) {
	t, err := s.findTarget(ctx, true)
	if err != nil || s.cfg.Dlv != "" { // that dlv is the tracer
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
