package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/remote"
	"github.com/dapbridge/dapbridge/internal/swap"
)

// messageLimit bounds one line of what a swap says: an origin is the most.
const messageLimit = 8 << 20

// swap runs a command of package swap on the node, feeds it in, compressed, and
// returns its last message; its error is that message's, or says that there was
// none. What has begun to be swapped when ctx or the link ends is ended by the
// node alone.
func (l *link) swap(ctx context.Context, what string, q swap.Request, in io.Reader, step func(string)) (swap.Message, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return swap.Message{}, err
	}
	argv := append([]string{"/proc/" + strconv.Itoa(l.client.Hello().PID) + "/exe"}, swap.Command(what, string(request))...)
	cmd, err := l.conn.Start(ctx, l.conn.AsRoot(argv))
	if err != nil {
		return swap.Message{}, err
	}
	defer cmd.Close()
	r := &swapRun{cmd: cmd, said: make(chan string, 1), lines: make(chan swap.Message), stop: make(chan struct{})}
	defer close(r.stop)
	l.wg.Go(func() { r.said <- copyLog(l.log, "swap", cmd.Stderr) })
	l.wg.Go(func() { r.feed(in) })
	l.wg.Go(r.read)
	last := "" // step
	for {
		select {
		case <-ctx.Done():
			return swap.Message{}, context.Cause(ctx)
		case m, ok := <-r.lines:
			switch {
			case !ok:
				return swap.Message{}, r.cutOff(last)
			case m.Step != "":
				last = m.Step
				if step != nil {
					step(m.Step)
				}
			case m.Error != nil && len(m.Journal) > 0:
				return m, &swap.Failure{Err: m.Error, Journal: m.Journal}
			case m.Error != nil:
				return m, m.Error
			case m.Done:
				return m, nil
			}
		}
	}
}

// swapRun is a command that runs.
type swapRun struct {
	cmd   *remote.Cmd
	said  chan string       // the last of its error output, when there is no more
	lines chan swap.Message // closed after the last one
	stop  chan struct{}     // closed when nobody takes them any more
	err   error             // of reading, once lines is closed
}

// feed ends with an end of file only when all was read.
func (r *swapRun) feed(in io.Reader) {
	if in != nil {
		if err := compress(r.cmd.Stdin, in); err != nil {
			if !errors.Is(err, io.EOF) { // it reads no more, and says why
				r.cmd.Close()
			}
			return
		}
	}
	_ = r.cmd.Stdin.Close()
}

func (r *swapRun) read() {
	defer close(r.lines)
	lines := bufio.NewScanner(r.cmd.Stdout)
	lines.Buffer(nil, messageLimit)
	for lines.Scan() {
		var m swap.Message
		if r.err = json.Unmarshal(lines.Bytes(), &m); r.err != nil {
			r.cmd.Close()
			return
		}
		select {
		case r.lines <- m:
		case <-r.stop:
			return
		}
	}
	r.err = lines.Err()
}

// cutOff says how a command ended that did not say so itself.
func (r *swapRun) cutOff(step string) error {
	err := r.err
	if err == nil {
		err = r.cmd.Wait()
	}
	var exit *remote.ExitError
	if errors.As(err, &exit) {
		err = diag.Errorf(diag.DeployShip, "the agent on the node ended early: %w: %s", err, <-r.said)
	}
	if err == nil {
		err = errors.New("it ended without a result")
	}
	d := diag.Errorf(diag.DeployShip, "lost sight of the node: %w", err)
	if step != "" && step != swap.Keeping && step != swap.Receiving {
		d = d.WithHint("the node may have ended what it began: run the command again, or dapbridge restore")
	}
	return d
}
