package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// client is one IDE's connection. Its run goroutine reads the IDE and never
// waits for what it writes, to either side, so that it always notices when the
// IDE goes. Others write to the IDE, attach, and while a session is attached
// read and write the node.
type client struct {
	srv  *Server
	conn net.Conn
	in   *frameReader
	out  *outbox
	log  *slog.Logger
	halt haltWatch
	wg   sync.WaitGroup // everything but run
	ctx  context.Context
	stop context.CancelFunc // ends ctx: the client is going

	gone chan struct{} // closed when the session has ended on the node
	over sync.Once     // the event terminated

	mu         sync.Mutex
	state      state
	name       string // the IDE's own
	initialize []byte // the IDE's initialize request, as Delve is to see it
	backlog    [][]byte
	backlogged int
	attempt    *attempt  // the last attach
	up         *upstream // from the attach's success on
}

// state is how far a client has come. It only goes down this list, but for a
// failed attach, which goes back to initialized.
type state int

const (
	fresh       state = iota
	initialized       // the bridge has answered initialize
	attaching         // the node attaches; requests gather in the backlog
	attached          // relaying
	ended             // no session any more
)

// maxBacklog bounds the requests that wait for an attach, in bytes.
const maxBacklog = 16 << 20

func newClient(s *Server, conn net.Conn, log *slog.Logger) *client {
	return &client{
		srv: s, conn: conn, log: log,
		in:  newFrameReader(conn, maxHeader, s.cfg.MaxBody),
		out: newOutbox(conn), gone: make(chan struct{}),
	}
}

// errDone ends run after a request that ends the connection.
var errDone = errors.New("done")

// lastWords is how long an IDE may take to read what it was told at the end.
const lastWords = 5 * time.Second

// run serves the connection until the IDE or ctx ends it. On return the session
// is over and every goroutine has ended.
func (c *client) run(ctx context.Context) {
	c.ctx, c.stop = context.WithCancel(ctx)
	unhook := context.AfterFunc(c.ctx, func() { c.conn.Close() })
	c.wg.Go(c.write)
	err := c.read()
	if err == errDone {
		c.conn.SetWriteDeadline(time.Now().Add(lastWords))
		c.out.queue.drain()
	} else if err != io.EOF && c.ctx.Err() == nil {
		c.log.Warn("connection closed", "error", err)
	}
	c.stop()
	unhook()
	c.finish(errOver)
	c.out.queue.stop(errOver)
	c.conn.Close()
	c.wg.Wait()
}

// write writes to the IDE. One that can't be told anything is gone.
func (c *client) write() {
	err := c.out.queue.run(c.conn)
	if c.ctx.Err() == nil {
		c.log.Warn("writing to the IDE", "error", err)
	}
	c.stop()
}

func (c *client) read() error {
	for {
		body, err := c.in.read()
		if err != nil {
			return err
		}
		env, err := scanEnvelope(body)
		if err != nil {
			return fmt.Errorf("a message that is none: %w", err)
		}
		if env.Type != "request" {
			c.log.Debug("dropped: not a request", "type", env.Type)
			continue // the bridge never asks the IDE anything
		}
		if err := c.request(body, env); err != nil {
			return err
		}
	}
}

// request handles one request of the IDE's. body is valid until it returns.
func (c *client) request(body []byte, env envelope) error {
	switch env.Command {
	case "initialize":
		return c.onInitialize(body, env)
	case "attach", "launch":
		return c.onAttach(body, env)
	case "disconnect", "terminate":
		return c.onDisconnect(body, env)
	}
	if why := forbidden(body, env); why != "" {
		return errors.Join(c.out.console(why), c.out.refuse(env, errors.New(why)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case attaching:
		c.backlogged += len(body)
		if c.backlogged > maxBacklog {
			return fmt.Errorf("more than %d bytes of requests before the attach is done", maxBacklog)
		}
		c.backlog = append(c.backlog, slices.Clone(body))
		return nil
	case attached:
		return c.forward(body, env)
	case ended:
		return c.out.refuse(env, errOver)
	}
	return c.out.refuse(env, errors.New("no session yet: send initialize, then attach"))
}

// forward relays a request to the node. The caller has c.mu and an upstream.
func (c *client) forward(body []byte, env envelope) error {
	if resumes(env.Command) {
		c.halt.resumed()
	}
	if err := c.up.send(body, env, pending{seq: env.Seq, command: env.Command}); err != nil {
		return c.out.refuse(env, err)
	}
	return nil
}

func (c *client) onInitialize(body []byte, env envelope) error {
	init, err := normalizeInitialize(body)
	if err != nil {
		return c.out.refuse(env, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != fresh {
		return c.out.refuse(env, errors.New("initialize was sent already"))
	}
	c.state = initialized
	c.initialize = slices.Clone(init)
	c.name = clientName(body)
	return c.out.respond(env, json.RawMessage(withhold(c.srv.cfg.Dialer.Capabilities())))
}

// clientName is the IDE's name for people (DAP, InitializeRequestArguments).
func clientName(body []byte) string {
	var r struct {
		Arguments struct {
			ClientName string `json:"clientName"`
			ClientID   string `json:"clientID"`
		} `json:"arguments"`
	}
	json.Unmarshal(body, &r)
	for _, name := range []string{r.Arguments.ClientName, r.Arguments.ClientID} {
		if name != "" {
			return diag.Escape(name[:min(len(name), 64)])
		}
	}
	return "an IDE"
}

// onDisconnect ends the session. The target lives on, whatever the IDE asked.
func (c *client) onDisconnect(body []byte, env envelope) error {
	var r struct {
		Arguments struct {
			TerminateDebuggee bool `json:"terminateDebuggee"`
			SuspendDebuggee   bool `json:"suspendDebuggee"`
		} `json:"arguments"`
	}
	json.Unmarshal(body, &r)
	if env.Command == "terminate" || r.Arguments.TerminateDebuggee {
		c.out.console("the target is not ended: it belongs to the node; the debugger detaches and it runs on")
	}
	if r.Arguments.SuspendDebuggee {
		c.out.console("the target is not left halted: the debugger detaches and it runs on")
	}
	if _, err := c.finish(errors.New("the IDE ended the session")); err != nil {
		c.out.console(explain(err))
	}
	c.out.respond(env, nil)
	c.terminated()
	if env.Command == "terminate" {
		return nil // disconnect follows (DAP, Terminate Request)
	}
	return errDone
}

// terminated tells the IDE that the session is over, once.
func (c *client) terminated() {
	c.over.Do(func() { c.out.event("terminated", map[string]any{}) })
}

// finish ends the session on the node, if there is one, or the attach under
// way, whose IDE is told why, and leaves the slot. It may be called by several
// goroutines; each returns when the session is over. The first is told so, and
// of an error.
func (c *client) finish(why error) (first bool, err error) {
	c.mu.Lock()
	for c.state == attaching {
		a := c.attempt
		c.srv.slot.leave(a.seat)
		a.giveUp(why)
		c.mu.Unlock()
		<-a.done
		c.mu.Lock()
	}
	first = c.state == attached
	c.state = ended
	up, a := c.up, c.attempt
	c.mu.Unlock()
	c.halt.stop()
	switch {
	case first:
		err = c.end(up.sess, a.seat)
		up.queue.stop(errOver)
		close(c.gone)
	case up != nil:
		<-c.gone
	}
	return first, err
}

// end ends a session on the node and leaves the slot.
func (c *client) end(sess Session, seat *holder) error {
	c.srv.slot.leave(seat)
	defer c.srv.slot.release(seat)
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	err := sess.End(ctx)
	if err != nil {
		c.log.Error("the session's end", "error", err)
	}
	return err
}

// evict ends the session for another client.
func (c *client) evict(by string) {
	c.wg.Go(func() {
		c.out.console(by + " takes over the session")
		if first, _ := c.finish(fmt.Errorf("%s took over the session", by)); first {
			c.terminated()
		}
	})
}
