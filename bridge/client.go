package bridge

import (
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

// dapClient is one IDE's connection.
type dapClient struct {
	connection
	in  *frameReader
	out *outbox

	terminatedOnce sync.Once // sends the terminated event

	// Under the connection's mutex:
	name       string         // the IDE's, for display
	form       pathmap.Client // how it writes paths, lines and columns
	initialize []byte         // the IDE's initialize request, as Delve gets it
	request    attachRequest  // the last one
	up         *upstream      // set when the attach succeeds
}

func newDAPClient(s *Server, conn net.Conn, log *slog.Logger) *dapClient {
	c := &dapClient{in: newFrameReader(conn, maxHeader, s.cfg.MaxBody)}
	c.open(s, conn, c, log)
	c.out = newOutbox(c.queue, conn)
	return c
}

// readRequests implements [protocolHandler].
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
			c.log.Debug("dropped a message that is not a request", "type", env.Type)
			continue // the bridge sends the IDE no requests
		}
		if err := c.handleRequest(body, env); err != nil {
			return err
		}
	}
}

// handleRequest handles one request from the IDE. It must not retain body.
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

// forward relays a request to the node. The caller holds c.mu; c.up is set.
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
		return c.out.refuse(env, errors.New("initialize has already been sent"))
	}
	c.phase = phaseInitialized
	c.initialize = slices.Clone(init)
	c.form = form
	c.name = clientName(body)
	return c.out.respond(env, json.RawMessage(clearCapabilities(c.srv.cfg.Dialer.Capabilities())))
}

// clientName returns the IDE's name for display (DAP, InitializeRequestArguments).
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

// handleDisconnect ends the session. The target keeps running, whatever the IDE
// asked for.
func (c *dapClient) handleDisconnect(body []byte, env envelope) error {
	var r struct {
		Arguments struct {
			TerminateDebuggee bool `json:"terminateDebuggee"`
			SuspendDebuggee   bool `json:"suspendDebuggee"`
		} `json:"arguments"`
	}
	json.Unmarshal(body, &r)
	if env.Command == "terminate" || r.Arguments.TerminateDebuggee {
		c.out.console("the target is not terminated, since it belongs to the node: the debugger detaches and the target keeps running")
	}
	if r.Arguments.SuspendDebuggee {
		c.out.console("the target is not left halted: the debugger detaches and the target keeps running")
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

// sendTerminated tells the IDE once that the session has ended.
func (c *dapClient) sendTerminated() {
	c.terminatedOnce.Do(func() { c.out.event("terminated", map[string]any{}) })
}

// notify implements [protocolHandler]: it prints in the debug console.
func (c *dapClient) notify(line string) { c.out.console(line) }

// announceEnd implements [protocolHandler].
func (c *dapClient) announceEnd(why string, err error) {
	if err != nil {
		c.log.Warn("connection to the node failed", "error", err)
	}
	c.out.console(why)
}

// reportEnd implements [protocolHandler].
func (c *dapClient) reportEnd() { c.sendTerminated() }

// refuseWaiting implements [protocolHandler]. An IDE does not wait for responses
// after the terminated event.
func (c *dapClient) refuseWaiting(error) {}
