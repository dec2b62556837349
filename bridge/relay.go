package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/dapbridge/dapbridge/pathmap"
)

// relayNode relays the node's messages to the IDE until the session ends.
func (c *dapClient) relayNode(up *upstream) {
	in := newFrameReader(up.sess, maxHeader, c.srv.cfg.MaxBody)
	for {
		body, err := in.read()
		if err == nil {
			err = c.handleNodeMessage(up, body)
		}
		if err != nil {
			c.lostNode(err)
			return
		}
	}
}

// errTerminated ends the relay of a session that the debugger calls over.
var errTerminated = errors.New("the debugger ended the session")

// lostNode ends the session for the IDE after an error of its stream, unless
// it is over already.
func (c *dapClient) lostNode(err error) {
	if c.ctx.Err() != nil {
		return // run ends it
	}
	first, endErr := c.finish(err)
	if !first {
		return
	}
	if err != io.EOF && err != errTerminated {
		c.log.Warn("the node's stream", "error", err)
	}
	reason := "the node ended the session"
	if endErr != nil {
		reason = errorText(endErr)
	}
	c.out.console(reason)
	c.sendTerminated()
}

// inbound is a message of the node's: what the bridge reads of it, and what is to
// change in it for the IDE.
type nodeMessage struct {
	body []byte
	envelope
	edits *pathmap.Edits
}

// read reads a message of the node's in one pass. What is to change goes to e.
func (u *upstream) scan(e *pathmap.Edits, body []byte) (nodeMessage, error) {
	env, err := readEnvelope(u.paths, e, body)
	return nodeMessage{body, env, e}, err
}

// number adds the numbers to what is to change.
func (in nodeMessage) addNumbers(seq, requestSeq int64) {
	for _, e := range in.numberEdits(in.body, seq, requestSeq) {
		in.edits.Insert(e)
	}
}

// fromNode relays one message of the node's. Only events and answers to
// requests pass: a reverse request (runInTerminal, startDebugging) would let
// the node run programs on the host.
func (c *dapClient) handleNodeMessage(up *upstream, body []byte) error {
	up.missing.refresh()
	in, err := up.scan(&up.edits, body)
	if err != nil {
		return fmt.Errorf("malformed message: %w", err)
	}
	switch in.Type {
	case "response":
		return c.handleNodeResponse(up, in)
	case "event":
		return c.handleNodeEvent(up, in)
	case "request":
		c.log.Warn("the node asked for something and was refused", "command", in.Command)
		return c.refuseNode(up, in.envelope)
	}
	c.log.Warn("dropped a message of the node's", "type", in.Type)
	return nil
}

func (c *dapClient) handleNodeResponse(up *upstream, in nodeMessage) error {
	p, ok := up.takePending(in.envelope)
	if !ok {
		c.log.Warn("dropped an answer that nobody asked for", "command", in.Command, "request_seq", in.RequestSeq)
		return nil
	}
	if p.fromBridge {
		if !in.Success {
			c.log.Warn("the debugger refuses the IDE's initialize", "answer", string(in.body))
		}
		return nil
	}
	if p.command != in.Command { // a launch that the node saw as an attach
		name, err := json.Marshal(p.command)
		if err != nil {
			return err
		}
		if in, err = up.scan(in.edits, setMember(in.body, "command", name)); err != nil {
			return err
		}
	}
	if p.verdict != nil {
		return c.relayBreakpoints(up, in, p)
	}
	return c.sendToIDE(in, p)
}

func (c *dapClient) handleNodeEvent(up *upstream, in nodeMessage) error {
	switch in.Event {
	case "stopped":
		c.halts.markHalted()
	case "continued", "exited":
		c.halts.markRunning()
	case "terminated": // the IDE is told so when the node has said why
		return errTerminated
	case "capabilities":
		var err error
		if in, err = up.scan(in.edits, clearEventCapabilities(in.body)); err != nil {
			return err
		}
	}
	return c.sendToIDE(in, pendingRequest{})
}

// toIDE sends a message of the node's, which answers p if it is a response, with
// the host's paths.
func (c *dapClient) sendToIDE(in nodeMessage, p pendingRequest) error {
	if p.isValue {
		in.edits.DropResults()
	}
	return c.out.relay(in, p.seq)
}

// refuseNode answers a request of the node's with an error.
func (c *dapClient) refuseNode(up *upstream, env envelope) error {
	no := false
	body, err := json.Marshal(message{Type: "response", RequestSeq: &env.Seq, Success: &no, Command: env.Command, Message: "refused by dapbridge"})
	if err != nil {
		return err
	}
	return up.refuseNode(body)
}
