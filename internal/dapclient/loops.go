package dapclient

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// readLoop stores messages until the connection ends or the server violates the
// protocol.
func (c *Client) readLoop() {
	r := bufio.NewReader(c.conn)
	for {
		raw, err := readFrame(r)
		c.mu.Lock()
		if err == nil {
			err = c.accept(raw)
		}
		var v *Violation
		if errors.As(err, &v) && !c.closed {
			c.violation = err
		}
		if err == io.EOF {
			err = fmt.Errorf("the server closed the connection: %w", err)
		}
		c.err = err
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// accept checks and stores one message. It must be called with mu held.
func (c *Client) accept(raw []byte) error {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return violationf("malformed message: %v: %.200q", err, raw)
	}
	if !c.validSeq(m.Seq) {
		return violationf("seq %d after %d: %.200q", m.Seq, c.last, raw)
	}
	c.seqs[m.Seq], c.last = true, m.Seq
	c.recent = append(c.recent, m.Type+" "+m.Event+m.Command)
	c.recent = c.recent[max(0, len(c.recent)-8):]
	switch m.Type {
	case "event":
		if m.Event == "" {
			return violationf("event without a name: %.200q", raw)
		}
		e := Event{Seq: m.Seq, Name: m.Event, Body: m.Body, Raw: raw}
		c.events, c.queue = append(c.events, e), append(c.queue, e)
	case "request":
		c.unexpected = append(c.unexpected, raw)
	case "response":
		return c.acceptResponse(m, raw)
	default:
		return violationf("message of type %q: %.200q", m.Type, raw)
	}
	return nil
}

// validSeq reports whether the server's seq is a new one, and in order unless that
// need not be.
func (c *Client) validSeq(seq int) bool {
	if seq < 1 || c.seqs[seq] {
		return false
	}
	return c.unordered || seq > c.last && (c.last > 0 || seq == 1)
}

func (c *Client) acceptResponse(m message, raw []byte) error {
	command, ok := c.commands[m.RequestSeq]
	switch {
	case !ok:
		c.unexpected = append(c.unexpected, raw)
		return nil
	case command != m.Command:
		return violationf("request %d was %s, its response says %q", m.RequestSeq, command, m.Command)
	case c.responses[m.RequestSeq] != nil:
		return violationf("second response to %s (%d)", command, m.RequestSeq)
	case m.Success == nil:
		return violationf("response without success: %.200q", raw)
	}
	c.responses[m.RequestSeq] = &Response{
		Seq: m.Seq, RequestSeq: m.RequestSeq, Success: *m.Success,
		Command: m.Command, Message: m.Message, Body: m.Body, Raw: raw,
	}
	return nil
}

// writeLoop writes the queue. After a failure it discards the queue instead of
// closing the connection, since there may still be messages of the server's to read.
func (c *Client) writeLoop() {
	for {
		select {
		case <-c.wake:
		case <-c.stop:
			return
		}
		c.mu.Lock()
		batch := c.writes
		c.writes = nil
		err := c.writeErr
		c.mu.Unlock()
		for _, w := range batch {
			if err == nil {
				_, err = c.conn.Write(w.data)
			}
			if w.done != nil {
				close(w.done)
			}
		}
		c.mu.Lock()
		c.writeErr = err
		c.mu.Unlock()
	}
}
