package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// relayNode relays the node's messages to the IDE until the session ends.
func (c *client) relayNode(up *upstream) {
	in := newFrameReader(up.sess, maxHeader, c.srv.cfg.MaxBody)
	for {
		body, err := in.read()
		if err == nil {
			err = c.fromNode(up, body)
		}
		if err != nil {
			c.lostNode(err)
			return
		}
	}
}

// lostNode ends the session for the IDE after an error of its stream, unless
// it is over already.
func (c *client) lostNode(err error) {
	if c.ctx.Err() != nil {
		return // run ends it
	}
	first, endErr := c.finish(err)
	if !first {
		return
	}
	if err != io.EOF {
		c.log.Warn("the node's stream", "error", err)
	}
	reason := "the node ended the session"
	if endErr != nil {
		reason = explain(endErr)
	}
	c.out.console(reason)
	c.terminated()
}

// fromNode relays one message of the node's. Only events and answers to
// requests pass: a reverse request (runInTerminal, startDebugging) would let
// the node run programs on the host.
func (c *client) fromNode(up *upstream, body []byte) error {
	env, err := scanEnvelope(body)
	if err != nil {
		return fmt.Errorf("a message that is none: %w", err)
	}
	switch env.Type {
	case "response":
		return c.nodeResponse(up, body, env)
	case "event":
		return c.nodeEvent(up, body, env)
	case "request":
		c.log.Warn("the node asked for something and was refused", "command", env.Command)
		return c.refuseNode(up, env)
	}
	c.log.Warn("dropped a message of the node's", "type", env.Type)
	return nil
}

func (c *client) nodeResponse(up *upstream, body []byte, env envelope) error {
	p, ok := up.answered(env)
	if !ok {
		c.log.Warn("dropped an answer that nobody asked for", "command", env.Command, "request_seq", env.RequestSeq)
		return nil
	}
	if p.own {
		if !env.Success {
			c.log.Warn("the debugger refuses the IDE's initialize", "answer", string(body))
		}
		return nil
	}
	if p.command != env.Command { // a launch that the node saw as an attach
		name, err := json.Marshal(p.command)
		if err != nil {
			return err
		}
		body = setMember(body, "command", name)
		if env, err = scanEnvelope(body); err != nil {
			return err
		}
	}
	if p.verdict != nil {
		return c.answerJudged(up, body, env, p)
	}
	return c.toIDE(up, body, env, p)
}

func (c *client) nodeEvent(up *upstream, body []byte, env envelope) error {
	switch env.Event {
	case "stopped":
		c.halt.halted()
	case "continued", "exited":
		c.halt.resumed()
	case "terminated":
		c.halt.resumed()
		c.terminating.Do(func() {}) // the bridge need not say so
	case "capabilities":
		body = withholdEvent(body, env)
		var err error
		if env, err = scanEnvelope(body); err != nil {
			return err
		}
	}
	return c.toIDE(up, body, env, pending{})
}

// toIDE sends a message of the node's, which answers p if it is a response, with
// the host's paths.
func (c *client) toIDE(up *upstream, body []byte, env envelope, p pending) error {
	up.lacking.refresh()
	mapped, changed := up.paths.ToHost(up.back[:0], body, p.values)
	if changed > 0 {
		up.back = mapped
		if cap(up.back) > keepBuffer {
			up.back = nil
		}
		var err error
		if env, err = scanEnvelope(mapped); err != nil {
			return errors.Join(errors.New("after mapping its paths"), err)
		}
	}
	return c.out.relay(mapped, env, p.seq)
}

// refuseNode answers a request of the node's with an error.
func (c *client) refuseNode(up *upstream, env envelope) error {
	no := false
	body, err := json.Marshal(message{Type: "response", RequestSeq: &env.Seq, Success: &no, Command: env.Command, Message: "refused by dapbridge"})
	if err != nil {
		return err
	}
	return up.answer(body)
}
