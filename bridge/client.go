package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/pathmap"
)

// client is one IDE's connection.
type client struct {
	connection
	in  *frameReader
	out *outbox

	terminating sync.Once // the event terminated

	name       string         // the IDE's own; these four under the connection's mutex
	form       pathmap.Client // how it writes paths, lines and columns
	initialize []byte         // the IDE's initialize request, as Delve is to see it
	up         *upstream      // from the attach's success on
}

func newClient(s *Server, conn net.Conn, log *slog.Logger) *client {
	c := &client{in: newFrameReader(conn, maxHeader, s.cfg.MaxBody)}
	c.open(s, conn, log)
	c.out = newOutbox(c.queue, conn)
	return c
}

// serve serves the IDE to its end, as [connection.run].
func (c *client) serve(ctx context.Context) { c.run(ctx, c.read) }

func (c *client) read() error {
	for {
		body, err := c.in.read()
		if err != nil {
			return err
		}
		env, err := scanEnvelope(body)
		if err != nil {
			return fmt.Errorf("malformed message: %w", err)
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
		return c.keep(body)
	case attached:
		if env.Command == "source" && c.onSource(body, env) {
			return nil
		}
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
	p := pending{seq: env.Seq, command: env.Command}
	if env.Command == "evaluate" {
		words, err := delveCommand(body)
		p.values = len(words) == 0 || err != nil
	}
	if err := c.up.send(body, env, p); err != nil {
		return c.out.refuse(env, err)
	}
	return nil
}

func (c *client) onInitialize(body []byte, env envelope) error {
	init, form, err := normalizeInitialize(body)
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
	c.form = form
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
	c.terminating.Do(func() { c.out.event("terminated", map[string]any{}) })
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
