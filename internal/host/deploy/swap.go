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

// swap runs one of the commands of `agent swap` on the node and decodes its result
// into result; its error is the one that the node reports, or says that there was no
// result. When the node asks for the build, send writes it, for a node whose
// executable has the SHA-256 former; send is nil for a command without a build. step,
// unless nil, is called at the start of each step. A node that stays silent for the
// link's idle timeout is given up. If ctx or the link ends during the swap itself, the
// node completes it alone.
func (l *Link) swap(ctx context.Context, command string, request, result any, send func(w io.Writer, former string) error, step func(api.SwapStep)) error {
	q, err := json.Marshal(request)
	if err != nil {
		return err
	}
	argv := append([]string{"/proc/" + strconv.Itoa(l.client.Hello().PID) + "/exe"}, api.SwapArgs(command, string(q), l.conn.IdleTimeout())...)
	cmd, err := l.conn.Start(ctx, l.conn.AsRoot(argv))
	if err != nil {
		return err
	}
	defer cmd.Close()
	ctx, timer := remote.WithIdleTimeout(ctx, l.conn, "message from the "+command)
	defer timer.Stop()
	r := &swapRun{cmd: cmd, said: make(chan string, 1), lines: make(chan api.SwapMessage), stop: make(chan struct{}), sent: make(chan error, 1)}
	defer close(r.stop)
	l.wg.Go(func() { r.said <- copyLog(l.log, "swap", cmd.Stderr) })
	l.wg.Go(r.read)
	if send == nil {
		_ = cmd.Stdin.Close()
	}
	var last api.SwapStep
	if q, ok := request.(api.RestoreRequest); ok && !q.DryRun {
		last = api.StepSwapping // a restore reports no step before it changes something
	}
	for {
		select {
		case <-ctx.Done():
			return l.gaveUp(context.Cause(ctx), last)
		case err := <-r.sent:
			return err
		case m, ok := <-r.lines:
			switch timer.Reset(); {
			case !ok:
				return r.cutOff(last)
			case m.Failure != nil:
				return failure(m.Failure)
			case m.Result != nil:
				if r.err = json.Unmarshal(m.Result, result); r.err != nil {
					return r.cutOff(last)
				}
				return nil
			case m.Progress == nil:
				continue // a heartbeat
			}
			last = m.Progress.Step
			if last == api.StepReceiving && send != nil {
				to := send
				send = nil // only the first request is served
				l.wg.Go(func() { r.feed(to, m.Progress.Former) })
			}
			if step != nil {
				step(last)
			}
		}
	}
}

// failure returns the error that the node reports.
func failure(f *api.SwapFailure) error {
	switch {
	case f.Error == nil:
		return diag.Errorf(diag.AgentProtocol, "the agent reports a failure without saying which")
	case len(f.Journal) > 0:
		return &api.DeployFailure{Err: f.Error, Journal: f.Journal}
	}
	return f.Error
}

// gaveUp ends the link to a node that is silent: nothing that is asked of it now
// would be answered.
func (l *Link) gaveUp(why error, step api.SwapStep) error {
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
func (r *swapRun) cutOff(step api.SwapStep) error {
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
func begun(step api.SwapStep, err error) error {
	var d *diag.Error
	if step == "" || step == api.StepSavingOriginal || step == api.StepReceiving || !errors.As(err, &d) {
		return err
	}
	return d.WithHint("the node may have ended what it began: run the command again, or dapbridge restore")
}
