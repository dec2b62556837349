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

// maxMessageSize bounds a message from the node, in bytes. The largest message contains
// an executable's origin.
const maxMessageSize = 8 << 20

// runSwap runs a command of `agent swap` on the node and decodes its result into result.
// It returns the error that the node reports, or an error if the command ends without a
// result, or sends nothing for the link's idle timeout. If ctx or the link ends during the
// swap itself, the node completes it on its own.
//
// When the node requests the build, send is called to write it; former is the SHA-256 of
// the node's current executable. send is nil for a command that needs no build. step,
// unless nil, is called at the start of each step.
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
				return r.earlyEndError(last, r.err)
			case m.Failure != nil:
				return reportedError(m.Failure)
			case m.Result != nil:
				if err := json.Unmarshal(m.Result, result); err != nil {
					return r.earlyEndError(last, err)
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

// giveUp returns the error for a run that was in step when its context ended. If the
// node is silent, giveUp closes the link, since no request would be answered any more.
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
	stop     chan struct{}        // closed when no more messages are received
	sendErr  chan error           // why the build could not be sent, unless the node stopped reading
	err      error                // of reading messages, once they are closed
}

// sendBuild sends the build. It closes the command's input only after the whole build.
func (r *swapRun) sendBuild(send func(w io.Writer, former string) error, former string) {
	switch err := send(r.cmd.Stdin, former); {
	case err == nil:
		_ = r.cmd.Stdin.Close()
	case !errors.Is(err, io.EOF): // EOF: the node stopped reading, and reports why
		r.sendErr <- r.cmd.Cause(err) // a lost connection may show here first
	}
}

// read decodes messages until the output ends or stop is closed.
func (r *swapRun) read() {
	defer close(r.messages)
	lines := bufio.NewScanner(r.cmd.Stdout)
	lines.Buffer(nil, maxMessageSize)
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

// earlyEndError returns the error of a command that ended without a result, or with a
// malformed one. err says why its messages could not be read, nil if they ended.
func (r *swapRun) earlyEndError(step api.SwapStep, err error) error {
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

// hintUnfinished adds a hint to the error if the node may already have changed something.
func hintUnfinished(step api.SwapStep, err error) error {
	var d *diag.Error
	if step == "" || step == api.StepSavingOriginal || step == api.StepReceiving || !errors.As(err, &d) {
		return err
	}
	return d.WithHint("the node may have completed the change on its own: run the command again, or dapbridge restore")
}
