package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// ReleaseTimeout bounds how long the agent may take to release the target. After it
// the link is cut, which the agent understands too.
const ReleaseTimeout = 30 * time.Second

// leaveTimeout bounds how long an agent that has released the target may take to
// exit.
const exitTimeout = 5 * time.Second

// Link is a connection to an agent on a node. Its methods may be called from
// several goroutines.
type Link struct {
	*Client
	Conn Conn // carries further commands; closed when the link ends

	log         *slog.Logger
	cmd         *remote.Cmd   // the supervisor
	idleTimeout time.Duration // for the agent's exit, if it need not detach
	debugged    atomic.Bool   // a session has been requested
	since       time.Time
	lostAt      atomic.Int64 // when it ended, Unix ns; 0 before that
	wg          sync.WaitGroup
}

// Dial connects to the node, uploads the agent unless it is there, and starts it.
func Dial(ctx context.Context, c Config) (*Link, error) {
	c = c.withDefaults()
	conn, err := DialNode(ctx, c)
	if err != nil {
		return nil, err
	}
	l, err := start(ctx, conn, c)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

// List returns the Go programs that run on the node.
func List(ctx context.Context, c Config) ([]api.Candidate, error) {
	l, err := Dial(ctx, c)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.List(ctx)
}

// start starts the supervisor and waits for its hello.
func start(ctx context.Context, conn Conn, c Config) (*Link, error) {
	args := api.SuperviseArgs(c.Target, c.Lease, c.Self, c.Dlv)
	if c.NoSession {
		args = append(args, api.NoSessionFlag)
	}
	cmd, err := StartAgent(ctx, conn, c, args)
	if err != nil {
		return nil, err
	}
	l := &Link{Conn: conn, cmd: cmd, idleTimeout: c.IdleTimeout, since: time.Now(), log: c.Log}
	l.Go(func() { CopyLog(l.log, "agent", cmd.Stderr) })
	late := time.AfterFunc(c.IdleTimeout, func() { conn.Close() })
	l.Client, err = Connect(cmd.Stdout, cmd.Stdin, Timing{Lease: c.Lease, Timeout: c.IdleTimeout}, Events{
		Log: func(line api.LogLine) { l.log.Debug(diag.Escape(line.Text)) },
	})
	if !late.Stop() {
		err = diag.Errorf(diag.NodeSilent, "the agent's first line did not come within %s", c.IdleTimeout)
	}
	if err != nil {
		conn.Close() // a hostile node would keep the channel open
		l.wg.Wait()
		return nil, err
	}
	l.Go(func() { // the sessions' channels end with the link
		<-l.Lost()
		l.lostAt.Store(time.Now().UnixNano())
		conn.Close()
	})
	return l, nil
}

// Go runs f in a goroutine that Close waits for.
func (l *Link) Go(f func()) { l.wg.Go(f) }

// Start starts a command of the agent's own program on the node, as root, wherever
// that program file is. What it writes to standard error is logged under its name;
// stderr, which may be nil, is then called with the last line.
func (l *Link) Start(ctx context.Context, name string, args []string, stderr func(lastLine string)) (*remote.Cmd, error) {
	return l.StartCommand(ctx, name, append([]string{l.agentProgram()}, args...), stderr)
}

// StartCommand is Start for any command of the node's.
func (l *Link) StartCommand(ctx context.Context, name string, argv []string, stderr func(lastLine string)) (*remote.Cmd, error) {
	cmd, err := l.Conn.Start(ctx, l.Conn.AsRoot(argv))
	if err != nil {
		return nil, err
	}
	l.Go(func() {
		last := CopyLog(l.log, name, cmd.Stderr)
		if stderr != nil {
			stderr(last)
		}
	})
	return cmd, nil
}

// Run runs a command of the agent's own program with its standard input and waits
// for its end. It returns what the command wrote to standard error, and its exit
// status.
func (l *Link) Run(ctx context.Context, args []string, stdin io.Reader) (stderr []byte, status int, err error) {
	_, stderr, status, err = remote.Run(ctx, l.Conn, l.Conn.AsRoot(append([]string{l.agentProgram()}, args...)), stdin)
	return stderr, status, err
}

func (l *Link) agentProgram() string { return "/proc/" + strconv.Itoa(l.Hello().PID) + "/exe" }

// Join opens the channel of a session and hands it to the worker. ended is called
// with the reason when that has ended.
func (l *Link) Join(ctx context.Context, token string, ended func(error)) (*remote.Cmd, error) {
	var cmd *remote.Cmd
	started := make(chan struct{})
	cmd, err := l.Start(ctx, "join", api.JoinArgs(l.Hello().Socket, token), func(lastLine string) {
		<-started
		ended(channelError(cmd.Wait(), lastLine))
	})
	close(started)
	return cmd, err
}

// channelError says how the command of a session's channel ended, with its last
// line.
func channelError(err error, lastLine string) error {
	if err == nil {
		err = errors.New("ended early")
	}
	if lastLine != "" {
		err = fmt.Errorf("%w: %s", err, lastLine)
	}
	return diag.Errorf(diag.AttachFailed, "the session's channel to the debugger: %w", err)
}

// MarkDebugged has Close wait for the agent to detach.
func (l *Link) MarkDebugged() { l.debugged.Store(true) }

// Since returns when the link was made.
func (l *Link) Since() time.Time { return l.since }

// LostAt returns when the link was lost, the zero time before that.
func (l *Link) LostAt() time.Time {
	if at := l.lostAt.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// IsAlive reports whether the link can be used.
func (l *Link) IsAlive() bool {
	select {
	case <-l.Lost():
		return false
	case <-l.Conn.Done():
		return false
	default:
		return true
	}
}

// Close releases the target and the agent, ends the link, and joins what was
// started for it.
func (l *Link) Close() error {
	var err error
	if l.IsAlive() {
		limit := ReleaseTimeout
		if !l.debugged.Load() {
			limit = min(limit, l.idleTimeout)
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err = l.Release(ctx); err != nil {
			l.Conn.Close()
		}
	}
	late := time.AfterFunc(min(exitTimeout, l.idleTimeout), func() { l.Conn.Close() })
	l.Client.Close()
	late.Stop()
	l.cmd.Close()
	l.Conn.Close()
	l.wg.Wait()
	return err
}
