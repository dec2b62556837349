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

// errEnded is what a call gets when the stream has ended.
var errEnded = errors.New("the connection ended")

// caller is a client of JSON-RPC 2.0, one message a line, for a server that is
// not trusted: it reads one message at a time and deals with it before the next,
// so that it never holds more than one; it waits for no longer than a call's
// context, whether the server reads or not; and of what the server asks it does
// nothing.
type caller struct {
	r          *bufio.Reader
	w          io.WriteCloser
	notify     func(method string, params json.RawMessage) // takes a notification; reading waits for it
	out        chan []byte                                 // to the writer
	stopWriter chan struct{}                               // ends the writer
	writerDone chan struct{}                               // closed when nothing is written any more
	done       chan struct{}                               // closed by end
	wg         sync.WaitGroup

	doneOnce sync.Once

	mu      sync.Mutex
	closed  bool
	lastID  int64 // id
	pending map[int64]chan response
}

// message is anything that the server may send.
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

func newCaller(r *bufio.Reader, w io.WriteCloser, note func(string, json.RawMessage)) *caller {
	c := &caller{
		r: r, w: w, notify: note, pending: map[int64]chan response{},
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
			return // what follows a line that is none of ours means nothing
		case err != nil: // JSON of another kind, a batch for instance: we send none
		case m.Method == "" && m.ID != nil:
			c.deliver(*m.ID, m.response)
		case m.Method != "" && m.ID == nil:
			c.notify(m.Method, m.Params)
		}
	}
}

// deliver hands an answer to who waits for it, if somebody does.
func (c *caller) deliver(id int64, r response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waiting := c.pending[id]; waiting != nil {
		delete(c.pending, id)
		waiting <- r // which has room for it
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

// send hands a request to the writer.
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

// call returns the result of a method, a *jrpc2.Error of the server's, the
// context's error, or errEnded. A call that is given up is cancelled on the
// other side.
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
	case r := <-answer: // the last word
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

// cancel tells the server of a call that was given up, without waiting for it.
func (c *caller) cancel(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Go(func() {
			p := api.CancelParams{ID: strconv.FormatInt(id, 10)}
			c.send(context.Background(), request{Method: api.MethodCancel, Params: p}) // ends with the link
		})
	}
}

// end ends all calls. It is the end of the stream, or what its owner takes for
// that.
func (c *caller) fail() { c.doneOnce.Do(func() { close(c.done) }) }

// close ends the writing side and returns when the reading side has ended too.
func (c *caller) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	close(c.stopWriter)
	c.wg.Wait()
}
