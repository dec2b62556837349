package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// messageLimit bounds one line of what a swap says: an origin is the most.
const messageLimit = 8 << 20

// swap runs a command of package swap on the node and returns its last message;
// its error is that message's, or says that there was none. When the node asks
// for the build, send writes it, for a node that has the file of the former
// SHA-256; nil is for a command that needs none. A node that stays silent for
// the link's idle timeout is given up. What has begun to be swapped when ctx
// or the link ends is ended by the node alone.
func (l *Link) swap(ctx context.Context, what string, q api.SwapRequest, send func(w io.Writer, former string) error, step func(string)) (api.SwapMessage, error) {
	q.IdleTimeout = l.conn.IdleTimeout()
	request, err := json.Marshal(q)
	if err != nil {
		return api.SwapMessage{}, err
	}
	argv := append([]string{"/proc/" + strconv.Itoa(l.client.Hello().PID) + "/exe"}, api.SwapArgs(what, string(request))...)
	cmd, err := l.conn.Start(ctx, l.conn.AsRoot(argv))
	if err != nil {
		return api.SwapMessage{}, err
	}
	defer cmd.Close()
	ctx, timer := remote.WithIdleTimeout(ctx, l.conn, "message from the "+what)
	defer timer.Stop()
	r := &swapRun{cmd: cmd, said: make(chan string, 1), lines: make(chan api.SwapMessage), stop: make(chan struct{}), sent: make(chan error, 1)}
	defer close(r.stop)
	l.wg.Go(func() { r.said <- copyLog(l.log, "swap", cmd.Stderr) })
	l.wg.Go(r.read)
	if send == nil {
		_ = cmd.Stdin.Close()
	}
	last := "" // step
	if what == api.SwapRestore && !q.DryRun {
		last = api.StepSwapping // it tells of no step before it changes something
	}
	for {
		select {
		case <-ctx.Done():
			return api.SwapMessage{}, l.gaveUp(context.Cause(ctx), last)
		case err := <-r.sent:
			return api.SwapMessage{}, err
		case m, ok := <-r.lines:
			if !ok {
				return api.SwapMessage{}, r.cutOff(last)
			}
			timer.Reset()
			if m.Step == api.StepReceiving && send != nil {
				to := send
				send = nil // it is asked for once
				l.wg.Go(func() { r.feed(to, m.Former) })
			}
			if m.Step != "" {
				last = m.Step
				if step != nil {
					step(m.Step)
				}
			}
			if m.Done || m.Error != nil {
				return m, failure(m)
			}
		}
	}
}

// failure is the error that a run has ended with, nil if it has none.
func failure(m api.SwapMessage) error {
	switch {
	case m.Error == nil:
		return nil
	case len(m.Journal) > 0:
		return &api.DeployFailure{Err: m.Error, Journal: m.Journal}
	}
	return m.Error
}

// gaveUp ends the link to a node that is silent: nothing that is asked of it now
// would be answered.
func (l *Link) gaveUp(why error, step string) error {
	if diag.CodeOf(why) != diag.NodeSilent {
		return why
	}
	l.conn.Close()
	return begun(step, why)
}

// swapRun is a command that runs.
type swapRun struct {
	cmd   *remote.Cmd
	said  chan string          // the last of its error output, when there is no more
	lines chan api.SwapMessage // closed after the last one
	stop  chan struct{}        // closed when nobody takes them any more
	sent  chan error           // why the build could not be sent, if that is not the node's doing
	err   error                // of reading, once lines is closed
}

// feed ends with an end of file only when all was sent.
func (r *swapRun) feed(send func(w io.Writer, former string) error, former string) {
	switch err := send(r.cmd.Stdin, former); {
	case err == nil:
		_ = r.cmd.Stdin.Close()
	case !errors.Is(err, io.EOF): // at which it reads no more, and says why
		r.sent <- err
	}
}

func (r *swapRun) read() {
	defer close(r.lines)
	lines := bufio.NewScanner(r.cmd.Stdout)
	lines.Buffer(nil, messageLimit)
	for lines.Scan() {
		var m api.SwapMessage
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
	return begun(step, diag.Errorf(diag.DeployShip, "lost sight of the node: %w", err))
}

// begun says what to do when a node is lost that may have changed something.
func begun(step string, err error) error {
	var d *diag.Error
	if step == "" || step == api.StepKeeping || step == api.StepReceiving || !errors.As(err, &d) {
		return err
	}
	return d.WithHint("the node may have ended what it began: run the command again, or dapbridge restore")
}
