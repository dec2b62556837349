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
type dapClient struct {
	connection
	in  *frameReader
	out *outbox

	terminatedOnce sync.Once // the event terminated

	name       string         // the IDE's own; these four under the connection's mutex
	form       pathmap.Client // how it writes paths, lines and columns
	initialize []byte         // the IDE's initialize request, as Delve is to see it
	up         *upstream      // from the attach's success on
}

func newClient(s *Server, conn net.Conn, log *slog.Logger) *dapClient {
	c := &dapClient{in: newFrameReader(conn, maxHeader, s.cfg.MaxBody)}
	c.open(s, conn, log)
	c.out = newOutbox(c.queue, conn)
	return c
}

// serve serves the IDE to its end, as [connection.run].
func (c *dapClient) serve(ctx context.Context) { c.run(ctx, c.readRequests) }

func (c *dapClient) readRequests() error {
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
		if err := c.handleRequest(body, env); err != nil {
			return err
		}
	}
}

// request handles one request of the IDE's. body is valid until it returns.
func (c *dapClient) handleRequest(body []byte, env envelope) error {
	switch env.Command {
	case "initialize":
		return c.handleInitialize(body, env)
	case "attach", "launch":
		return c.handleAttach(body, env)
	case "disconnect", "terminate":
		return c.handleDisconnect(body, env)
	}
	if why := refusalReason(body, env); why != "" {
		return errors.Join(c.out.console(why), c.out.refuse(env, errors.New(why)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case phaseAttaching:
		return c.addToBacklog(body)
	case phaseAttached:
		if env.Command == "source" && c.handleSource(body, env) {
			return nil
		}
		return c.forward(body, env)
	case phaseEnded:
		return c.out.refuse(env, errEnded)
	}
	return c.out.refuse(env, errors.New("no session yet: send initialize, then attach"))
}

// forward relays a request to the node. The caller has c.mu and an upstream.
func (c *dapClient) forward(body []byte, env envelope) error {
	if resumesTarget(env.Command) {
		c.halts.markRunning()
	}
	p := pendingRequest{seq: env.Seq, command: env.Command}
	if env.Command == "evaluate" {
		words, err := delveCommandWords(body)
		p.isValue = len(words) == 0 || err != nil
	}
	if err := c.up.send(body, env, p); err != nil {
		return c.out.refuse(env, err)
	}
	return nil
}

func (c *dapClient) handleInitialize(body []byte, env envelope) error {
	init, form, err := normalizeInitialize(body)
	if err != nil {
		return c.out.refuse(env, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseNew {
		return c.out.refuse(env, errors.New("initialize was sent already"))
	}
	c.phase = phaseInitialized
	c.initialize = slices.Clone(init)
	c.form = form
	c.name = clientName(body)
	return c.out.respond(env, json.RawMessage(clearCapabilities(c.srv.cfg.Dialer.Capabilities())))
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
func (c *dapClient) handleDisconnect(body []byte, env envelope) error {
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
		c.out.console(errorText(err))
	}
	c.out.respond(env, nil)
	c.sendTerminated()
	if env.Command == "terminate" {
		return nil // disconnect follows (DAP, Terminate Request)
	}
	return errDone
}

// terminated tells the IDE that the session is over, once.
func (c *dapClient) sendTerminated() {
	c.terminatedOnce.Do(func() { c.out.event("terminated", map[string]any{}) })
}

// evict ends the session for another client.
func (c *dapClient) evict(by string) {
	c.wg.Go(func() {
		c.out.console(by + " takes over the session")
		if first, _ := c.finish(fmt.Errorf("%s took over the session", by)); first {
			c.sendTerminated()
		}
	})
}
