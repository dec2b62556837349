package daemon

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/sshconn"
)

// releaseTimeout bounds how long the agent may take to let the target go when
// the daemon leaves. After it the link is cut, which the agent understands too.
const releaseTimeout = 30 * time.Second

// link is the connection to an agent on the node.
type link struct {
	conn   *sshconn.Conn
	cmd    *sshconn.Cmd
	client *agent.Client
	sudo   bool
	log    *slog.Logger
	wg     sync.WaitGroup
}

// dial reaches the node, puts the agent there if need be, and starts it.
func dial(ctx context.Context, c Config) (*link, error) {
	conn, err := sshconn.Dial(ctx, c.SSH)
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

func start(ctx context.Context, conn *sshconn.Conn, c Config) (*link, error) {
	bin, err := findAgent(ctx, conn, c)
	if err != nil {
		return nil, err
	}
	cmd, err := conn.StartAgent(ctx, bin, c.Delivery, agent.SuperviseArgs(c.Target, c.Lease))
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, cmd: cmd, sudo: !c.Delivery.NoSudo && c.SSH.Node.User != "root", log: c.Log}
	l.wg.Go(func() { l.copyLog("agent", cmd.Stderr) })
	l.client, err = agent.Connect(cmd.Stdout, cmd.Stdin, c.Lease, agent.Events{
		Log: func(line agent.LogLine) { l.log.Debug(diag.Escape(line.Text)) },
	})
	if err != nil {
		cmd.Close()
		l.wg.Wait()
		return nil, err
	}
	return l, nil
}

// findAgent returns the agent's binary for the node. Nearly every node is of
// the host's architecture, or the agent for it is known from before: the node
// is asked only when there is none for that.
func findAgent(ctx context.Context, conn *sshconn.Conn, c Config) (sshconn.Binary, error) {
	o := c.Agent
	if o.Arch == "" {
		os, arch, err := conn.Platform(ctx)
		if err != nil {
			return sshconn.Binary{}, err
		}
		o.OS, o.Arch = os, arch
	}
	return sshconn.FindAgent(ctx, o)
}

// copyLog writes what a command of ours says on the node to the log.
func (l *link) copyLog(what string, r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		l.log.Debug(what + ": " + diag.Escape(lines.Text()))
	}
	io.Copy(io.Discard, r)
}

// join opens the channel of a session and hands it to the worker. It runs the
// agent's own program file, wherever that stands.
func (l *link) join(ctx context.Context, token string) (*sshconn.Cmd, error) {
	hello := l.client.Hello()
	argv := append([]string{"/proc/" + strconv.Itoa(hello.PID) + "/exe"}, agent.JoinArgs(hello.Socket, token)...)
	if l.sudo {
		argv = append([]string{"sudo", "-n", "--"}, argv...)
	}
	cmd, err := l.conn.Start(ctx, argv)
	if err != nil {
		return nil, err
	}
	l.wg.Go(func() { l.copyLog("join", cmd.Stderr) })
	return cmd, nil
}

// alive reports whether the link can be used.
func (l *link) alive() bool {
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
func (l *link) close() error {
	var err error
	if l.alive() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		err = l.client.Release(ctx)
	}
	l.client.Close()
	l.cmd.Close()
	l.conn.Close()
	l.wg.Wait()
	return err
}
