package bridge

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dapbridge/dapbridge/pathmap"
)

// relayNode implements [protocolHandler].
func (c *dapClient) relayNode() error {
	in := newFrameReader(c.up.sess, maxHeader, c.srv.cfg.MaxBody)
	for {
		body, err := in.read()
		if err != nil {
			return err
		}
		if err := c.handleNodeMessage(c.up, body); err != nil {
			return err
		}
	}
}

// errTerminated is returned after the debugger's terminated event.
var errTerminated = errors.New("the debugger ended the session")

// nodeMessage is a message from the node, with the edits for the IDE.
type nodeMessage struct {
	body []byte
	envelope
	edits *pathmap.Edits
}

// scan reads a message from the node in one pass and sets e to the edits for the IDE.
func (u *upstream) scan(e *pathmap.Edits, body []byte) (nodeMessage, error) {
	env, err := readEnvelope(u.paths, e, body)
	return nodeMessage{body, env, e}, err
}

// addNumbers adds the message's new numbers to its edits.
func (in nodeMessage) addNumbers(seq, requestSeq int64) {
	for _, e := range in.numberEdits(in.body, seq, requestSeq) {
		in.edits.Insert(e)
	}
}

// handleNodeMessage handles one message from the node. Only events and responses to
// pending requests are relayed: a reverse request (runInTerminal, startDebugging)
// would let the node run programs on the host.
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
		c.log.Warn("refused a request from the node", "command", in.Command)
		return c.refuseNode(up, in.envelope)
	}
	c.log.Warn("dropped a message from the node", "type", in.Type)
	return nil
}

func (c *dapClient) handleNodeResponse(up *upstream, in nodeMessage) error {
	p, ok := up.takePending(in.envelope)
	if !ok {
		c.log.Warn("dropped an unexpected response", "command", in.Command, "request_seq", in.RequestSeq)
		return nil
	}
	if p.fromBridge {
		if !in.Success {
			c.log.Warn("the debugger refused initialize", "answer", string(in.body))
		}
		return nil
	}
	if p.command != in.Command { // a launch, which the node got as an attach
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
	if p.isValue && !in.Success && up.noVariables != "" {
		return c.out.refuseQuietly(envelope{Seq: p.seq, Command: p.command}, errors.New(up.noVariables))
	}
	return c.sendToIDE(in, p)
}

func (c *dapClient) handleNodeEvent(up *upstream, in nodeMessage) error {
	switch in.Event {
	case "stopped":
		c.halts.markHalted()
	case "continued", "exited":
		c.halts.markRunning()
	case "terminated": // the IDE gets its own when the session has ended on the node
		return errTerminated
	case "capabilities":
		var err error
		if in, err = up.scan(in.edits, clearEventCapabilities(in.body)); err != nil {
			return err
		}
	}
	return c.sendToIDE(in, pendingRequest{})
}

// sendToIDE sends a message from the node with host paths. If it is a response, p is
// the request that it answers.
func (c *dapClient) sendToIDE(in nodeMessage, p pendingRequest) error {
	if p.isValue {
		in.edits.DropResults()
	}
	return c.out.relay(in, p.seq)
}

// refuseNode answers a request from the node with an error.
func (c *dapClient) refuseNode(up *upstream, env envelope) error {
	no := false
	body, err := json.Marshal(message{Type: "response", RequestSeq: &env.Seq, Success: &no, Command: env.Command, Message: "refused by dapbridge"})
	if err != nil {
		return err
	}
	return up.refuseNode(body)
}
