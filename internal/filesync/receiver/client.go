package receiver

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/filesync/tree"
)

// Args is the command line that starts a receiver for a directory on the node.
func Args(top string, look, force bool) []string {
	return []string{"agent", "receive", "--top=" + top, "--look=" + strconv.FormatBool(look), "--force=" + strconv.FormatBool(force)}
}

// Client is the host's end. Its methods must not run at the same time; after an
// error it is of no more use.
type Client struct {
	in    *bufio.Reader
	out   *frameWriter
	cut   func()
	there bool
	buf   [maxFrame]byte
	speed speed

	window window
}

// Connect waits for the receiver's hello. cut ends the channel, so that nothing
// waits for it any longer; it is called when the other end can't be understood.
func Connect(r io.Reader, w io.Writer, cut func()) (*Client, error) {
	c := &Client{in: bufio.NewReaderSize(r, maxFrame), out: newFrameWriter(w), cut: cut}
	f, err := c.expect(frameHello)
	if err != nil {
		return nil, err
	}
	version := f.number(1 << 32)
	if version != Version && !f.isBad() {
		return nil, diag.Errorf(diag.AgentProtocol, "the receiver of files speaks version %d of its protocol, not %d", version, Version)
	}
	c.there = f.number(1) == 1
	code, problem := f.text(maxText), f.message()
	if err := f.done(); err != nil {
		return nil, c.wrong(err)
	}
	if problem == nil {
		return c, nil
	}
	if code := diag.Code(code); code == diag.SyncRefused || code == diag.SyncBusy {
		return nil, diag.Errorf(code, "%w", problem)
	}
	return nil, diag.Errorf(diag.SyncFailed, "on the node: %w", problem)
}

// Slow reports whether the line has turned out to be so slow that what is sent is
// compressed.
func (c *Client) Slow() bool { return c.speed.slow.Load() }

// There reports whether the tree's top directory is there: a receiver that only
// looks does not make it.
func (c *Client) There() bool { return c.there }

// Scan returns what the tree holds on the node, and what there could not be
// looked at. It removes temporary files that killed receivers have left.
func (c *Client) Scan() (tree.Manifest, []tree.Problem, error) {
	var m tree.Manifest
	var problems []tree.Problem
	err := c.out.send(frameScan)
	if err == nil {
		err = c.out.flush()
	}
	if err != nil {
		return nil, nil, err
	}
	for held := 0; ; {
		kind, f, err := readFrame(c.in, &c.buf)
		if err != nil {
			return nil, nil, c.wrong(err)
		}
		held += len(f.left())
		switch kind {
		case frameEntry:
			m = append(m, f.entry())
		case frameProblem:
			problems = append(problems, tree.Problem{Path: f.text(maxPath), Err: f.message()})
		case frameEnd:
		default:
			f.fail()
		}
		if len(m)+len(problems) > maxEntries || held > maxHeld {
			return nil, nil, c.wrong(fmt.Errorf("%w: more than %d files, or %d bytes of their names", errWire, maxEntries, maxHeld))
		}
		if err := f.done(); err != nil {
			return nil, nil, c.wrong(err)
		}
		if kind == frameEnd {
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

// Sums returns the SHA-256 of files' contents on the node, and for those that
// can't be read why.
func (c *Client) Sums(paths []string, told func(path string, sum []byte, err error)) error {
	var failed error
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for _, p := range paths {
			c.out.text(p)
			if failed = c.out.send(frameSum); failed != nil {
				return
			}
		}
		failed = c.out.flush()
	}()
	for _, p := range paths {
		f, err := c.expect(frameSum)
		if err == nil {
			sum, problem := f.text(sha256.Size), f.message()
			if err = c.wrong(f.done()); err == nil {
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
func (c *Client) expect(kind byte) (*fields, error) {
	got, f, err := readFrame(c.in, &c.buf)
	if err == nil && got != kind {
		err = unexpected(got)
	}
	return f, c.wrong(err)
}

func unexpected(kind byte) error { return fmt.Errorf("%w: an answer of kind %q", errWire, kind) }

// wrong makes an error of the channel one for people, and ends the channel.
func (c *Client) wrong(err error) error {
	if err == nil {
		return nil
	}
	c.cut()
	switch {
	case errors.Is(err, errWire):
		return diag.Errorf(diag.AgentProtocol, "the receiver of files on the node: %w", err)
	case errors.Is(err, io.EOF):
		return diag.Errorf(diag.LinkLost, "the receiver of files on the node has ended: %w", err).WithHint("run the command again")
	}
	return err
}
