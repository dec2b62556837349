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

// Client is the host's end. Its methods must not run at the same time; after an
// error it is of no more use.
type Client struct {
	in        *bufio.Reader
	out       *frame.Writer
	hangUp    func()
	topExists bool
	buf       [frame.MaxSize]byte
	speed     speedGauge

	window window
}

// Connect waits for the receiver's hello. cut ends the channel, so that nothing
// waits for it any longer; it is called when the other end can't be understood.
func Connect(r io.Reader, w io.Writer, cut func()) (*Client, error) {
	c := &Client{in: bufio.NewReaderSize(r, frame.MaxSize), out: frame.NewWriter(w), hangUp: cut}
	f, err := c.expect(frame.KindHello)
	if err != nil {
		return nil, err
	}
	version := f.ReadNumber(1 << 32)
	if version != frame.Version && !f.IsBad() {
		return nil, diag.Errorf(diag.AgentProtocol, "the receiver of files speaks version %d of its protocol, not %d", version, frame.Version)
	}
	c.topExists = f.ReadNumber(1) == 1
	code, problem := f.ReadText(frame.MaxText), f.ReadError()
	if err := f.Finish(); err != nil {
		return nil, c.fail(err)
	}
	if problem == nil {
		return c, nil
	}
	if code := diag.Code(code); code == diag.SyncRefused || code == diag.SyncBusy {
		return nil, diag.Errorf(code, "%w", problem)
	}
	return nil, diag.Errorf(diag.SyncFailed, "on the node: %w", problem)
}

// IsSlow reports whether the line has turned out to be so slow that what is sent is
// compressed.
func (c *Client) IsSlow() bool { return c.speed.slow.Load() }

// TopExists reports whether the tree's top directory is there: a receiver that only
// looks does not make it.
func (c *Client) TopExists() bool { return c.topExists }

// Scan returns what the tree holds on the node, and what there could not be
// looked at. It removes temporary files that killed receivers have left.
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
	for held := 0; ; {
		kind, f, err := frame.ReadFrame(c.in, &c.buf)
		if err != nil {
			return nil, nil, c.fail(err)
		}
		held += len(f.Rest())
		switch kind {
		case frame.KindEntry:
			m = append(m, f.ReadEntry())
		case frame.KindProblem:
			problems = append(problems, tree.Problem{Path: f.ReadText(frame.MaxPath), Err: f.ReadError()})
		case frame.KindEnd:
		default:
			f.MarkBad()
		}
		if len(m)+len(problems) > maxEntries || held > maxHeld {
			return nil, nil, c.fail(fmt.Errorf("%w: more than %d files, or %d bytes of their names", frame.ErrMalformed, maxEntries, maxHeld))
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

// What bounds what a node can have the host remember.
const (
	maxEntries = 4 << 20
	maxHeld    = 256 << 20 // bytes of all entries together
)

// HashFiles returns the SHA-256 of files' contents on the node, and for those that
// can't be read why.
func (c *Client) HashFiles(paths []string, told func(path string, sum []byte, err error)) error {
	var failed error
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for _, p := range paths {
			c.out.AppendText(p)
			if failed = c.out.Send(frame.KindSum); failed != nil {
				return
			}
		}
		failed = c.out.Flush()
	}()
	for _, p := range paths {
		f, err := c.expect(frame.KindSum)
		if err == nil {
			sum, problem := f.ReadText(sha256.Size), f.ReadError()
			if err = c.fail(f.Finish()); err == nil {
				told(p, []byte(sum), problem)
			}
		}
		if err != nil {
			<-asked // which ends, for the channel has
			return err
		}
	}
	<-asked
	return failed
}

// expect reads a frame of a kind.
func (c *Client) expect(kind byte) (*frame.Body, error) {
	got, f, err := frame.ReadFrame(c.in, &c.buf)
	if err == nil && got != kind {
		err = unexpectedKind(got)
	}
	return f, c.fail(err)
}

func unexpectedKind(kind byte) error {
	return fmt.Errorf("%w: an answer of kind %q", frame.ErrMalformed, kind)
}

// fail makes an error of the channel one for people, and ends the channel.
func (c *Client) fail(err error) error {
	if err == nil {
		return nil
	}
	c.hangUp()
	switch {
	case errors.Is(err, frame.ErrMalformed):
		return diag.Errorf(diag.AgentProtocol, "the receiver of files on the node: %w", err)
	case errors.Is(err, io.EOF):
		return diag.Errorf(diag.LinkLost, "the receiver of files on the node has ended: %w", err).WithHint("run the command again")
	}
	return err
}
