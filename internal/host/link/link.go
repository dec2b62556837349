package daemon

import (
	"bufio"
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
	"github.com/dapbridge/dapbridge/internal/host/execconn"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
)

// releaseTimeout bounds how long the agent may take to let the target go when
// the daemon leaves. After it the link is cut, which the agent understands too.
const releaseTimeout = 30 * time.Second

const (
	defaultIdleTimeout = time.Minute
	leaveTimeout       = 5 * time.Second // of an agent that has let the target go
)

// nodeConn is a connection to a node, whatever carries it. Close may be called
// again.
type nodeConn interface {
	remote.Conn
	Done() <-chan struct{} // closed when it has ended
	Close() error          // ends it and all that runs over it
}

// Link is the connection to an agent on the node.
type Link struct {
	conn        nodeConn
	cmd         *remote.Cmd
	client      *link.Client
	idleTimeout time.Duration // for the agent's leave, if it need not detach
	debugged    atomic.Bool   // a session has been asked for
	since       time.Time
	lost        atomic.Int64 // when it ended, Unix ns; 0 before that
	log         *slog.Logger
	wg          sync.WaitGroup
}

// dial reaches the node, puts the agent there if need be, and starts it.
func dial(ctx context.Context, c Config) (*Link, error) {
	c = c.withIdleTimeout()
	conn, err := dialNode(ctx, c.SSH)
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

// withIdleTimeout returns c with its idle timeout set, to the default if it has none.
func (c Config) withIdleTimeout() Config {
	if c.IdleTimeout == 0 {
		c.IdleTimeout = defaultIdleTimeout
	}
	c.SSH.IdleTimeout = c.IdleTimeout
	return c
}

// dialNode reaches the node as it wants to be reached.
func dialNode(ctx context.Context, c sshconn.Config) (nodeConn, error) {
	if c.Node.Exec != nil {
		return execconn.Dial(ctx, c.Node, c.IdleTimeout, c.Log)
	}
	return sshconn.Dial(ctx, c)
}

func start(ctx context.Context, conn nodeConn, c Config) (*Link, error) {
	args := api.SuperviseArgs(c.Target, c.Lease, c.Self, c.Dlv)
	if c.errand {
		args = append(args, api.NoSessionFlag)
	}
	cmd, err := startAgent(ctx, conn, c, args)
	if err != nil {
		return nil, err
	}
	l := &Link{conn: conn, cmd: cmd, idleTimeout: c.IdleTimeout, since: time.Now(), log: c.Log}
	l.wg.Go(func() { copyLog(l.log, "agent", cmd.Stderr) })
	late := time.AfterFunc(c.IdleTimeout, func() { l.conn.Close() })
	l.client, err = link.Connect(cmd.Stdout, cmd.Stdin, link.Timing{Lease: c.Lease, Timeout: c.IdleTimeout}, link.Events{
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
	l.wg.Go(func() { // the sessions' channels end with the link
		<-l.client.Lost()
		l.lost.Store(time.Now().UnixNano())
		l.conn.Close()
	})
	return l, nil
}

// startAgent starts the agent for the host's architecture, which nearly every
// local node has; the node is asked only when it will not run that.
func startAgent(ctx context.Context, conn nodeConn, c Config, args []string) (*remote.Cmd, error) {
	bin, err := remote.FindAgent(ctx, c.Agent)
	if err != nil {
		return nil, err
	}
	cmd, err := remote.StartAgent(ctx, conn, bin, c.Upload, args)
	if !errors.Is(err, &diag.Error{Code: diag.NodePlatform}) {
		return cmd, err
	}
	os, arch, perr := remote.Platform(ctx, conn)
	if perr != nil || os != "linux" || arch != "amd64" && arch != "arm64" || arch == c.Agent.Arch {
		return nil, err
	}
	c.Agent.OS, c.Agent.Arch = os, arch
	if bin, err = remote.FindAgent(ctx, c.Agent); err != nil {
		return nil, err
	}
	return remote.StartAgent(ctx, conn, bin, c.Upload, args)
}

// copyLog writes what a command of ours says on the node to the log, and
// returns the last line when there is no more.
func copyLog(log *slog.Logger, what string, r io.Reader) (last string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		last = diag.Escape(lines.Text())
		log.Debug(what + ": " + last)
	}
	io.Copy(io.Discard, r)
	return last
}

// join opens the channel of a session and hands it to the worker. It runs the
// agent's own program file, wherever that stands. When that has ended, ended is
// told how.
func (l *Link) join(ctx context.Context, token string, ended func(error)) (*remote.Cmd, error) {
	hello := l.client.Hello()
	argv := append([]string{"/proc/" + strconv.Itoa(hello.PID) + "/exe"}, api.JoinArgs(hello.Socket, token)...)
	cmd, err := l.conn.Start(ctx, l.conn.AsRoot(argv))
	if err != nil {
		return nil, err
	}
	l.wg.Go(func() {
		last := copyLog(l.log, "join", cmd.Stderr)
		ended(channelEnded(cmd.Wait(), last))
	})
	return cmd, nil
}

// channelEnded says how the command of a session's channel has ended, and what
// it said last.
func channelEnded(err error, said string) error {
	if err == nil {
		err = errors.New("ended early")
	}
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return diag.Errorf(diag.AttachFailed, "the session's channel to the debugger: %w", err)
}

// alive reports whether the link can be used.
func (l *Link) alive() bool {
	select {
	case <-l.client.Lost():
		return false
	case <-l.conn.Done():
		return false
	default:
		return true
	}
}

// close releases the target and the agent, and ends the link.
func (l *Link) close() error {
	var err error
	if l.alive() {
		limit := releaseTimeout
		if !l.debugged.Load() {
			limit = min(limit, l.idleTimeout)
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err = l.client.Release(ctx); err != nil {
			l.conn.Close()
		}
	}
	late := time.AfterFunc(min(leaveTimeout, l.idleTimeout), func() { l.conn.Close() })
	l.client.Close()
	late.Stop()
	l.cmd.Close()
	l.conn.Close()
	l.wg.Wait()
	return err
}
