package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/link"
	"github.com/dapbridge/dapbridge/internal/host/remote"
)

// messageLimit bounds one message of the node's, in bytes. The largest holds an
// executable's origin.
const messageLimit = 8 << 20

// runSwap runs one of the commands of `agent swap` on the node and decodes its result
// into result; its error is the one that the node reports, or says that there was no
// result. When the node asks for the build, send writes it, for a node whose
// executable has the SHA-256 former; send is nil for a command without a build. step,
// unless nil, is called at the start of each step. A node that stays silent for the
// link's idle timeout is given up. If ctx or the link ends during the swap itself, the
// node completes it alone.
func runSwap(ctx context.Context, l *link.Link, command string, request, result any, send func(w io.Writer, former string) error, step func(api.SwapStep)) error {
	q, err := json.Marshal(request)
	if err != nil {
		return err
	}
	r := &swapRun{messages: make(chan api.SwapMessage), stop: make(chan struct{}), sendErr: make(chan error, 1)}
	r.cmd, err = l.StartSubcommand(ctx, "swap", api.SwapArgs(command, string(q), l.Conn.IdleTimeout()))
	if err != nil {
		return err
	}
	defer r.cmd.Close()
	ctx, timer := remote.WithIdleTimeout(ctx, l.Conn, "message from the "+command)
	defer timer.Stop()
	defer close(r.stop)
	l.Go(r.read)
	if send == nil {
		_ = r.cmd.Stdin.Close()
	}
	var last api.SwapStep
	if q, ok := request.(api.RestoreRequest); ok && !q.DryRun {
		last = api.StepSwapping // a restore reports no step before it changes something
	}
	for {
		select {
		case <-ctx.Done():
			return giveUp(l, context.Cause(ctx), last)
		case err := <-r.sendErr:
			return err
		case m, ok := <-r.messages:
			switch timer.Reset(); {
			case !ok:
				return r.earlyEnd(last)
			case m.Failure != nil:
				return reportedError(m.Failure)
			case m.Result != nil:
				if r.err = json.Unmarshal(m.Result, result); r.err != nil {
					return r.earlyEnd(last)
				}
				return nil
			case m.Progress == nil:
				continue // a heartbeat
			}
			last = m.Progress.Step
			if last == api.StepReceiving && send != nil {
				sendOnce := send
				send = nil // only the first request is served
				l.Go(func() { r.sendBuild(sendOnce, m.Progress.Former) })
			}
			if step != nil {
				step(last)
			}
		}
	}
}

// reportedError returns the error that the node reports.
func reportedError(f *api.SwapFailure) error {
	switch {
	case f.Error == nil:
		return diag.Errorf(diag.AgentProtocol, "the agent reports a failure without saying which")
	case len(f.Journal) > 0:
		return &api.DeployFailure{Err: f.Error, Journal: f.Journal}
	}
	return f.Error
}

// giveUp ends the link to a node that is silent, on which no request would be answered
// any more, and returns the error for a run that was in step.
func giveUp(l *link.Link, reason error, step api.SwapStep) error {
	if diag.CodeOf(reason) != diag.NodeSilent {
		return reason
	}
	l.Conn.Close()
	return hintUnfinished(step, reason)
}

// swapRun is a running command.
type swapRun struct {
	cmd      *link.Command
	messages chan api.SwapMessage // closed after the last one
	stop     chan struct{}        // closed when nobody receives messages any more
	sendErr  chan error           // why the build could not be sent, unless the node ended that
	err      error                // of reading messages, once they are closed
}

// sendBuild closes the command's input only if the whole build was sent.
func (r *swapRun) sendBuild(send func(w io.Writer, former string) error, former string) {
	switch err := send(r.cmd.Stdin, former); {
	case err == nil:
		_ = r.cmd.Stdin.Close()
	case !errors.Is(err, io.EOF): // with which the node reads no more, and says why
		r.sendErr <- err
	}
}

func (r *swapRun) read() {
	defer close(r.messages)
	lines := bufio.NewScanner(r.cmd.Stdout)
	lines.Buffer(nil, messageLimit)
	for lines.Scan() {
		var m api.SwapMessage
		if r.err = json.Unmarshal(lines.Bytes(), &m); r.err != nil {
			r.cmd.Close()
			return
		}
		select {
		case r.messages <- m:
		case <-r.stop:
			return
		}
	}
	r.err = lines.Err()
}

// earlyEnd returns the error of a command that ended without a result.
func (r *swapRun) earlyEnd(step api.SwapStep) error {
	err := r.err
	if err == nil {
		err = r.cmd.Wait()
	}
	var exit *remote.ExitError
	if errors.As(err, &exit) {
		err = diag.Errorf(diag.DeployShip, "the agent on the node ended early: %w: %s", err, r.cmd.LastLine())
	}
	if err == nil {
		err = errors.New("it ended without a result")
	}
	return hintUnfinished(step, diag.Errorf(diag.DeployShip, "lost sight of the node: %w", err))
}

// hintUnfinished says what to do when a node is lost that may have changed something.
func hintUnfinished(step api.SwapStep, err error) error {
	var d *diag.Error
	if step == "" || step == api.StepSavingOriginal || step == api.StepReceiving || !errors.As(err, &d) {
		return err
	}
	return d.WithHint("the node may have ended what it began: run the command again, or dapbridge restore")
}
