package receiver

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// Client talks to a receiver over a channel. Its methods must not be called
// concurrently, nor after one has returned an error of the channel.
type Client struct {
	in        *bufio.Reader
	out       *frame.Writer
	hangUp    func()
	topExists bool
	buf       [frame.MaxSize]byte
	speed     speedGauge
	window    window
}

// Connect blocks until the receiver has sent its hello. The client calls hangUp when it
// cannot understand the receiver; hangUp must close the channel, so that nothing blocks
// on it any longer.
func Connect(r io.Reader, w io.Writer, hangUp func()) (*Client, error) {
	c := &Client{
		in: bufio.NewReaderSize(r, frame.MaxSize), out: frame.NewWriter(w), hangUp: hangUp,
		window: window{min: minWindow, max: maxWindow, size: initialWindow},
	}
	f, err := c.readKind(frame.KindHello)
	if err != nil {
		return nil, err
	}
	version := f.ReadNumber(1 << 32)
	if version != frame.Version && !f.IsBad() {
		return nil, diag.Errorf(diag.AgentProtocol, "the node's file receiver speaks version %d of its protocol, not %d", version, frame.Version)
	}
	c.topExists = f.ReadNumber(1) == 1
	code, refusal := f.ReadText(frame.MaxText), f.ReadError()
	if err := f.Finish(); err != nil {
		return nil, c.fail(err)
	}
	if refusal == nil {
		return c, nil
	}
	if code := diag.Code(code); code == diag.SyncRefused || code == diag.SyncBusy {
		return nil, diag.Errorf(code, "%w", refusal)
	}
	return nil, diag.Errorf(diag.SyncFailed, "on the node: %w", refusal)
}

// IsSlow reports whether the connection has proved so slow that data is compressed.
func (c *Client) IsSlow() bool { return c.speed.slow.Load() }

// TopExists reports whether the tree's top directory exists. A read-only receiver does
// not create it.
func (c *Client) TopExists() bool { return c.topExists }

// Limits on the memory that a node can make the host use.
const (
	maxEntries   = 4 << 20
	maxScanBytes = 256 << 20 // of all entries together
)

// Scan returns what the node's tree holds, and what could not be read. The receiver
// removes temporary files that killed receivers have left.
func (c *Client) Scan() (tree.Manifest, []tree.Problem, error) {
	var m tree.Manifest
	var problems []tree.Problem
	err := c.out.Send(frame.KindScan)
	if err == nil {
		err = c.out.Flush()
	}
	if err != nil {
		return nil, nil, err
	}
	for size := 0; ; {
		kind, f, err := frame.ReadFrame(c.in, &c.buf)
		if err != nil {
			return nil, nil, c.fail(err)
		}
		size += len(f.Rest())
		switch kind {
		case frame.KindEntry:
			m = append(m, f.ReadEntry())
		case frame.KindProblem:
			problems = append(problems, tree.Problem{Path: f.ReadText(frame.MaxPath), Err: f.ReadError()})
		case frame.KindEnd:
		default:
			f.MarkBad()
		}
		if len(m)+len(problems) > maxEntries || size > maxScanBytes {
			return nil, nil, c.fail(fmt.Errorf("%w: more than %d files, or %d bytes of their names", frame.ErrMalformed, maxEntries, maxScanBytes))
		}
		if err := f.Finish(); err != nil {
			return nil, nil, c.fail(err)
		}
		if kind == frame.KindEnd {
			m.Sort()
			return m, problems, nil
		}
	}
}

// HashFiles calls report, in order, with the SHA-256 of the content of each file on the
// node, or with why it could not be read. It fails only if the channel does.
func (c *Client) HashFiles(paths []string, report func(path string, sum []byte, err error)) error {
	var sendErr error
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, p := range paths {
			c.out.AppendText(p)
			if sendErr = c.out.Send(frame.KindSum); sendErr != nil {
				return
			}
		}
		sendErr = c.out.Flush()
	}()
	for _, p := range paths {
		f, err := c.readKind(frame.KindSum)
		if err == nil {
			sum, fileErr := f.ReadText(sha256.Size), f.ReadError()
			if err = c.fail(f.Finish()); err == nil {
				report(p, []byte(sum), fileErr)
			}
		}
		if err != nil {
			<-sent // soon, since the channel is closed
			return err
		}
	}
	<-sent
	return sendErr
}

// readKind reads a frame and fails unless it is of the given kind.
func (c *Client) readKind(kind byte) (*frame.Body, error) {
	got, f, err := frame.ReadFrame(c.in, &c.buf)
	if err == nil && got != kind {
		err = unexpectedKind(got)
	}
	return f, c.fail(err)
}

func unexpectedKind(kind byte) error {
	return fmt.Errorf("%w: an answer of kind %q", frame.ErrMalformed, kind)
}

// readAnswer reads the answer to a change at path, and the acknowledgements before it.
func (c *Client) readAnswer(path string, fl *inFlight) (now tree.Entry, kept string, changeErr, chanErr error) {
	for {
		kind, f, err := frame.ReadFrame(c.in, &c.buf)
		switch {
		case err != nil:
		case kind == frame.KindReceived:
			n := f.ReadNumber(frame.MaxReceived)
			if err = f.Finish(); err == nil {
				c.speed.add(fl.ackBytes(int64(n)))
				continue
			}
		case kind == frame.KindAnswer:
			now, kept, changeErr = f.ReadEntry(), f.ReadText(2*frame.MaxPath), f.ReadError()
			if err = f.Finish(); err == nil && now.Path != path {
				err = fmt.Errorf("%w: an answer for another path", frame.ErrMalformed)
			}
		default:
			err = unexpectedKind(kind)
		}
		return now, kept, changeErr, c.fail(err)
	}
}

// fail closes the channel after an error, and returns the error for the user. It does
// nothing for nil.
func (c *Client) fail(err error) error {
	if err == nil {
		return nil
	}
	c.hangUp()
	switch {
	case errors.Is(err, frame.ErrMalformed):
		return diag.Errorf(diag.AgentProtocol, "the node's file receiver: %w", err)
	case errors.Is(err, io.EOF):
		return diag.Errorf(diag.LinkLost, "the node's file receiver has exited: %w", err).WithHint("run the command again")
	}
	return err
}
