package receiver

import (
	"fmt"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api/frame"
)

// Stage makes the receiver create a directory in its tree, accessible to its user only,
// for files that are uploaded another way. It returns the directory's path in the tree.
// stageErr is why there is none; chanErr is an error of the channel.
func (c *Client) Stage() (dir string, stageErr, chanErr error) { return c.sendStage(1) }

// Unstage removes that directory and what is left in it.
func (c *Client) Unstage() (stageErr, chanErr error) {
	_, stageErr, chanErr = c.sendStage(0)
	return stageErr, chanErr
}

func (c *Client) sendStage(want uint64) (dir string, stageErr, chanErr error) {
	c.out.AppendNumber(want)
	err := c.out.Send(frame.KindStage)
	if err == nil {
		err = c.out.Flush()
	}
	if err != nil {
		return "", nil, err
	}
	f, err := c.readKind(frame.KindStage)
	if err != nil {
		return "", nil, err
	}
	dir, stageErr = f.ReadText(frame.MaxPath), f.ReadError()
	if err = f.Finish(); err == nil && stageErr == nil && want == 1 && (!frame.IsInside(dir) || !strings.HasPrefix(dir, frame.TemporaryPrefix)) {
		err = fmt.Errorf("%w: %q for staged files", frame.ErrMalformed, dir)
	}
	return dir, stageErr, c.fail(err)
}
