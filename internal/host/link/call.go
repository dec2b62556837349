package link

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/creachadair/jrpc2"

	"github.com/dapbridge/dapbridge/internal/api"
)

// errEnded is the error of a call whose stream has ended.
var errEnded = errors.New("the connection ended")

// caller is a JSON-RPC 2.0 client, with one message per line, for a server that is not
// trusted. It handles each message before it reads the next, so it never holds more than
// one. A call never outlasts its context, even if the server does not read. Requests from
// the server are ignored.
type caller struct {
	r      *bufio.Reader
	w      io.WriteCloser
	notify func(method string, params json.RawMessage) // handles a notification; reading waits for it

	out        chan []byte   // to the writer
	stopWriter chan struct{} // closed by close
	writerDone chan struct{} // closed when nothing is written any more
	done       chan struct{} // closed by fail
	doneOnce   sync.Once
	wg         sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	lastID  int64
	pending map[int64]chan response
}

// message is any message from the server: a response or a notification.
type message struct {
	ID     *int64          `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	response
}

type response struct {
	Result json.RawMessage `json:"result"`
	Error  *jrpc2.Error    `json:"error"`
}

type request struct {
	Version string `json:"jsonrpc"`
	ID      *int64 `json:"id,omitempty"` // a notification has none
	Method  string `json:"method"`
	Params  any    `json:"params,omitempty"`
}

func newCaller(r *bufio.Reader, w io.WriteCloser, notify func(string, json.RawMessage)) *caller {
	c := &caller{
		r: r, w: w, notify: notify, pending: map[int64]chan response{},
		out: make(chan []byte), stopWriter: make(chan struct{}), writerDone: make(chan struct{}), done: make(chan struct{}),
	}
	c.wg.Go(c.read)
	c.wg.Go(c.write)
	return c
}

func (c *caller) read() {
	defer c.fail()
	for {
		line, err := api.ReadLine(c.r)
		if err != nil {
			return
		}
		var m message
		var syntax *json.SyntaxError
		switch err := json.Unmarshal(line, &m); {
		case errors.As(err, &syntax):
			return // after a line that is not JSON, no later line can be trusted
		case err != nil: // other JSON, such as a batch; we send no batches, so it answers no call
		case m.Method == "" && m.ID != nil:
			c.deliver(*m.ID, m.response)
		case m.Method != "" && m.ID == nil:
			c.notify(m.Method, m.Params)
		}
	}
}

// deliver passes a response to the call that waits for it, if there is one.
func (c *caller) deliver(id int64, r response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.pending[id]; call != nil {
		delete(c.pending, id)
		call <- r // never blocks: it is buffered
	}
}

func (c *caller) write() {
	defer close(c.writerDone)
	defer c.w.Close()
	for {
		select {
		case line := <-c.out:
			if _, err := c.w.Write(line); err != nil {
				return
			}
		case <-c.stopWriter:
			return
		case <-c.done:
			return
		}
	}
}

// send passes a request to the writer.
func (c *caller) send(ctx context.Context, r request) error {
	r.Version = "2.0"
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	select {
	case c.out <- append(line, '\n'):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.writerDone:
		return errEnded
	}
}

// call calls a method and returns its result. The error is a *jrpc2.Error from the
// server, the context's error, or errEnded. If the context ends, the server is told to
// cancel the call.
func (c *caller) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	answer := make(chan response, 1)
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.pending[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.pending, id)
	}()
	if err := c.send(ctx, request{ID: &id, Method: method, Params: params}); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r.unpack()
	case <-ctx.Done():
		c.cancel(id)
		return nil, ctx.Err()
	case <-c.done:
	}
	select {
	case r := <-answer: // arrived just before the stream ended
		return r.unpack()
	default:
		return nil, errEnded
	}
}

func (r response) unpack() (json.RawMessage, error) {
	if r.Error != nil {
		return nil, r.Error
	}
	return r.Result, nil
}

// cancel asks the server to cancel a call. It does not wait for that.
func (c *caller) cancel(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Go(func() {
			p := api.CancelParams{ID: strconv.FormatInt(id, 10)}
			c.send(context.Background(), request{Method: api.MethodCancel, Params: p}) // returns when the link ends
		})
	}
}

// fail ends all calls with errEnded: the stream has ended, or the owner gives up on it.
func (c *caller) fail() { c.doneOnce.Do(func() { close(c.done) }) }

// close stops the writer and waits for both goroutines. The owner must make a blocked
// read from c.r return.
func (c *caller) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	close(c.stopWriter)
	c.wg.Wait()
}
