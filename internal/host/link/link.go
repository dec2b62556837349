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

// ReleaseTimeout bounds how long the agent may take to release the target. After that,
// the link is closed, which also makes the agent release it.
const ReleaseTimeout = 30 * time.Second

// exitTimeout bounds how long an agent that has released the target may take to
// exit.
const exitTimeout = 5 * time.Second

// Link is a connection to an agent on a node. Its methods may be called from
// several goroutines.
type Link struct {
	*Client
	Conn Conn // carries further commands; closed when the link ends

	log         *slog.Logger
	cmd         *remote.Cmd   // the supervisor
	idleTimeout time.Duration // bounds Close if the agent need not detach
	debugged    atomic.Bool   // a session has been requested
	since       time.Time
	lostAt      atomic.Int64 // when the link ended, in Unix ns; 0 before that
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
	timer := time.AfterFunc(c.IdleTimeout, func() { conn.Close() })
	l.Client, err = Connect(cmd.Stdout, cmd.Stdin, Timing{Lease: c.Lease, Timeout: c.IdleTimeout}, Events{
		Log: func(line api.LogLine) { l.log.Debug(diag.Escape(line.Text)) },
	})
	if !timer.Stop() {
		err = diag.Errorf(diag.NodeSilent, "the agent sent no hello within %s", c.IdleTimeout)
	}
	if err != nil {
		conn.Close() // a hostile node could keep the channel open
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

// Command is a command that runs on the node, see [Link.StartCommand].
type Command struct {
	*remote.Cmd
	lastLine   string
	stderrDone chan struct{}
}

// LastLine blocks until the command's standard error ends, and returns its last line.
func (c *Command) LastLine() string {
	<-c.stderrDone
	return c.lastLine
}

// StartCommand starts a command on the node, as root. What it writes to standard error
// is logged under name.
func (l *Link) StartCommand(ctx context.Context, name string, argv []string) (*Command, error) {
	cmd, err := l.Conn.Start(ctx, l.Conn.AsRoot(argv))
	if err != nil {
		return nil, err
	}
	c := &Command{Cmd: cmd, stderrDone: make(chan struct{})}
	l.Go(func() {
		defer close(c.stderrDone)
		c.lastLine = CopyLog(l.log, name, cmd.Stderr)
	})
	return c, nil
}

// StartSubcommand starts a subcommand of the agent's own program, see
// [Link.StartCommand].
func (l *Link) StartSubcommand(ctx context.Context, name string, args []string) (*Command, error) {
	return l.StartCommand(ctx, name, l.agentArgv(args))
}

// RunSubcommand runs a subcommand of the agent's own program with the given standard
// input. It blocks until the command has ended, and returns what it wrote to standard
// error, and its exit status.
func (l *Link) RunSubcommand(ctx context.Context, args []string, stdin io.Reader) (stderr []byte, status int, err error) {
	_, stderr, status, err = remote.Run(ctx, l.Conn, l.Conn.AsRoot(l.agentArgv(args)), stdin)
	return stderr, status, err
}

// agentArgv returns the command line of a subcommand of the running agent's program,
// wherever its file is.
func (l *Link) agentArgv(args []string) []string {
	return append([]string{"/proc/" + strconv.Itoa(l.Hello().PID) + "/exe"}, args...)
}

// Join opens the channel of a session and passes it to the worker. When the channel has
// ended, ended is called with the reason.
func (l *Link) Join(ctx context.Context, token string, ended func(error)) (*remote.Cmd, error) {
	cmd, err := l.StartSubcommand(ctx, "join", api.JoinArgs(l.Hello().Socket, token))
	if err != nil {
		return nil, err
	}
	l.Go(func() {
		lastLine := cmd.LastLine()
		ended(channelError(cmd.Wait(), lastLine))
	})
	return cmd.Cmd, nil
}

// channelError returns the error for a session's channel whose command ended with err
// and the last line.
func channelError(err error, lastLine string) error {
	if err == nil {
		err = errors.New("ended early")
	}
	if lastLine != "" {
		err = fmt.Errorf("%w: %s", err, lastLine)
	}
	return diag.Errorf(diag.AttachFailed, "the session's channel to the debugger: %w", err)
}

// MarkDebugged records that a session was requested: Close then gives the agent the time
// to detach.
func (l *Link) MarkDebugged() { l.debugged.Store(true) }

// Since returns when the link was established.
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

// Close has the agent release the target and exit, ends the link, and waits for its
// goroutines.
func (l *Link) Close() error {
	var err error
	if l.IsAlive() {
		timeout := ReleaseTimeout
		if !l.debugged.Load() {
			timeout = min(timeout, l.idleTimeout)
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err = l.Release(ctx); err != nil {
			l.Conn.Close()
		}
	}
	timer := time.AfterFunc(min(exitTimeout, l.idleTimeout), func() { l.Conn.Close() })
	l.Client.Close()
	timer.Stop()
	l.cmd.Close()
	l.Conn.Close()
	l.wg.Wait()
	return err
}
