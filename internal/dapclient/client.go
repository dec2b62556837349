// Package dapclient is a scripted DAP client for the demo and the end-to-end
// tests. It works with a bridge and with Delve alike, checks that the server keeps
// to the protocol, and reports what it did receive when a message does not come.
package dapclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
)

// Client is one connection. Its methods may be called from several goroutines;
// those with a context block until the server has answered, the connection has
// ended or the context is done.
type Client struct {
	conn      io.ReadWriteCloser
	unordered bool
	loops     sync.WaitGroup
	wake      chan struct{} // signals that writes is not empty
	stop      chan struct{} // closed by Close

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced whenever something below changes
	writes     []write
	writeErr   error
	next       int            // seq of our next request
	commands   map[int]string // of every request, by seq
	responses  map[int]*Response
	seqs       map[int]bool // of the server
	last       int          // the server's last seq
	events     []Event      // all
	queue      []Event      // those that no WaitEvent has taken
	unexpected [][]byte
	recent     []string // labels of the latest messages, for errors
	err        error    // why reading ended
	violation  error
	closed     bool
}

type write struct {
	data []byte
	done chan struct{} // closed once written or given up; may be nil
}

// Option changes how a Client checks its server.
type Option func(*Client)

// Unordered allows the server's seq to come out of order, though never twice.
// Delve takes a number before it sends, so that its events can overtake responses.
func Unordered() Option { return func(c *Client) { c.unordered = true } }

// Dial connects to a DAP server.
func Dial(ctx context.Context, network, addr string, opts ...Option) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("dial the DAP server: %w", err)
	}
	return New(conn, opts...), nil
}

// New starts a client on conn, which it owns from now on: [Client.Close] closes it.
func New(conn io.ReadWriteCloser, opts ...Option) *Client {
	c := &Client{
		conn:      conn,
		wake:      make(chan struct{}, 1),
		stop:      make(chan struct{}),
		changed:   make(chan struct{}),
		next:      1,
		commands:  map[int]string{},
		responses: map[int]*Response{},
		seqs:      map[int]bool{},
	}
	for _, o := range opts {
		o(c)
	}
	c.loops.Go(c.readLoop)
	c.loops.Go(c.writeLoop)
	return c
}

// Close closes the connection, joins the client's goroutines and returns the
// server's [Violation], if there was one.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if first {
		close(c.stop)
		_ = c.conn.Close() // readLoop reports the end
	}
	c.loops.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.violation
}

// Request sends a request and waits for its response. If the server refuses it,
// Request returns an [*Error] together with the response.
func (c *Client) Request(ctx context.Context, command string, args any) (*Response, error) {
	seq, err := c.Send(command, args)
	if err != nil {
		return nil, err
	}
	return c.Wait(ctx, seq)
}

// Send queues a request without waiting, and returns its seq for [Client.Wait].
// If args is nil, the request has no arguments.
func (c *Client) Send(command string, args any) (int, error) {
	var raw json.RawMessage
	if args != nil {
		var err error
		if raw, err = json.Marshal(args); err != nil {
			return 0, fmt.Errorf("encode the arguments of %s: %w", command, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.closedErr(); err != nil {
		return 0, fmt.Errorf("send %s: %w", command, err)
	}
	seq := c.reserve(command)
	content, err := json.Marshal(struct {
		Command   string          `json:"command"`
		Arguments json.RawMessage `json:"arguments,omitempty"`
		Type      string          `json:"type"`
		Seq       int             `json:"seq"`
	}{command, raw, "request", seq})
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", command, err)
	}
	c.enqueue(write{data: Frame(content)})
	return seq, nil
}

// Reserve returns the seq for a request that the caller writes itself, with
// [Frame] and [Client.SendRaw]. [Client.Wait] returns its response.
func (c *Client) Reserve(command string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reserve(command)
}

// SendRaw writes data as it is, after everything sent before. It returns once the
// data is written or the connection has ended.
func (c *Client) SendRaw(data []byte) {
	w := write{data: data, done: make(chan struct{})}
	c.mu.Lock()
	c.enqueue(w)
	c.mu.Unlock()
	select {
	case <-w.done:
	case <-c.stop:
	}
}

// Wait returns the response to the request with that seq.
func (c *Client) Wait(ctx context.Context, seq int) (*Response, error) {
	var r *Response
	c.mu.Lock()
	command, ok := c.commands[seq]
	c.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("no request has seq %d", seq)
	}
	err := c.await(ctx, "the response to "+command, func() bool {
		r = c.responses[seq]
		return r != nil
	})
	if err != nil {
		return nil, err
	}
	if !r.Success {
		return r, newError(r)
	}
	return r, nil
}

// WaitEvent takes the first event of that name from the queue whose body
// matches; a nil match accepts any. Other events stay for later calls.
func (c *Client) WaitEvent(ctx context.Context, name string, match func(json.RawMessage) bool) (*Event, error) {
	var found *Event
	err := c.await(ctx, "the event "+name, func() bool {
		found = c.take(name, match)
		return found != nil
	})
	return found, err
}

// Events returns all events so far, including those that WaitEvent has taken.
func (c *Client) Events() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// Output returns the text of all output events so far.
func (c *Client) Output() string {
	var b strings.Builder
	for _, e := range c.Events() {
		var body struct {
			Output string `json:"output"`
		}
		if e.Name == "output" && json.Unmarshal(e.Body, &body) == nil {
			b.WriteString(body.Output)
		}
	}
	return b.String()
}

// Unexpected returns the reverse requests, and the responses to requests that were
// never sent, unchanged. The client answers none of them.
func (c *Client) Unexpected() []json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]json.RawMessage, len(c.unexpected))
	for i, raw := range c.unexpected {
		all[i] = raw
	}
	return all
}

// reserve, enqueue, take and closedErr must be called with mu held.

func (c *Client) reserve(command string) int {
	seq := c.next
	c.next++
	c.commands[seq] = command
	return seq
}

func (c *Client) enqueue(w write) {
	c.writes = append(c.writes, w)
	select {
	case c.wake <- struct{}{}:
	default: // writeLoop is awake already
	}
}

func (c *Client) take(name string, match func(json.RawMessage) bool) *Event {
	for i, e := range c.queue {
		if e.Name == name && (match == nil || match(e.Body)) {
			c.queue = slices.Delete(c.queue, i, i+1)
			return &e
		}
	}
	return nil
}

// closedErr returns why nothing more can be sent, or nil.
func (c *Client) closedErr() error {
	switch {
	case c.violation != nil:
		return c.violation
	case c.closed:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	}
	return c.writeErr
}

// await blocks until ready, which is called with mu held, returns true. what names
// the awaited message in errors.
func (c *Client) await(ctx context.Context, what string, ready func() bool) error {
	for {
		c.mu.Lock()
		changed, err := c.changed, c.violation
		if err == nil {
			if ready() {
				c.mu.Unlock()
				return nil
			}
			if err = c.err; err == nil {
				err = ctx.Err()
			}
		}
		if err != nil {
			err = c.explain(what, err)
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// explain adds to err what was awaited and what came instead. It must be called
// with mu held.
func (c *Client) explain(what string, err error) error {
	var open []string
	for seq, command := range c.commands {
		if c.responses[seq] == nil {
			open = append(open, fmt.Sprintf("%s (%d)", command, seq))
		}
	}
	slices.Sort(open)
	text := "nothing was received"
	if len(c.recent) > 0 {
		text = "last received: " + strings.Join(c.recent, ", ")
	}
	if len(open) > 0 {
		text += "; unanswered: " + strings.Join(open, ", ")
	}
	return fmt.Errorf("wait for %s: %w; %s", what, err, text)
}
