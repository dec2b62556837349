package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/pathmap"
)

// attachRequest is the request that started an attach.
type attachRequest struct {
	body []byte
	env  envelope
}

// handleAttach starts the attach and does not wait for it: its caller, readRequests,
// must keep reading to notice when the IDE disconnects.
func (c *dapClient) handleAttach(body []byte, env envelope) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseInitialized {
		return c.out.refuse(env, fmt.Errorf("%s is not allowed now: send initialize first, and attach only once", env.Command))
	}
	c.request = attachRequest{slices.Clone(body), env}
	c.startAttach(c.name, DAP)
	return nil
}

// attach implements [protocolHandler].
func (c *dapClient) attach(ctx context.Context, h *holder) {
	c.mu.Lock()
	r := c.request
	c.mu.Unlock()
	if err := c.tryAttach(ctx, h, r); err != nil {
		c.refuseAttach(ctx, r.env, err)
	}
}

// refuseAttach refuses the attach request, which failed with err, and the requests in
// the backlog, unless the client is disconnecting.
func (c *dapClient) refuseAttach(ctx context.Context, env envelope, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = phaseInitialized
	if c.ctx.Err() != nil {
		return
	}
	c.out.refuse(env, c.explainAttachFailure(ctx, err))
	for _, body := range c.takeBacklog() {
		if env, err := scanEnvelope(body); err == nil {
			c.out.refuse(env, errors.New("the attach failed"))
		}
	}
}

// tryAttach dials the node and connects the session to the IDE. If it fails, the
// target is left as it was.
func (c *dapClient) tryAttach(ctx context.Context, h *holder, r attachRequest) error {
	var args attachArgs
	if raw, ok := member(r.body, "arguments"); ok {
		if err := json.Unmarshal(raw, &args); err != nil {
			return diag.Errorf(diag.Usage, "read the configuration: %w", err).WithHint("correct launch.json")
		}
	}
	options, err := args.dialOptions()
	if err != nil {
		return err
	}
	progress := c.newProgress()
	options.Progress = progress.update
	sess, err := c.dial(ctx, h, options)
	progress.end()
	if err != nil {
		return err
	}
	m, err := args.checkSession(sess)
	if err == nil {
		up := newUpstream(sess, m, c.form)
		up.stale = newStaleChecker(c.ctx, &c.wg, sess)
		err = c.handOver(ctx, up, r)
	}
	if err != nil {
		return errors.Join(err, c.endSession(sess, h))
	}
	return nil
}

// newProgress returns a reporter that shows the IDE the progress of an attach.
func (c *dapClient) newProgress() *progressReporter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &progressReporter{out: c.out, canShow: canShowProgress(c.initialize)}
}

// checkSession fails if the session is not what the IDE asked for. It returns the
// session's path map overlaid with the IDE's own rules.
func (a attachArgs) checkSession(sess Session) (*pathmap.Map, error) {
	if err := a.checkProcess(sess.Target()); err != nil {
		return nil, err
	}
	m, err := sess.Map().WithClient(a.rules())
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "substitutePath: %w", err).WithHint("remove substitutePath from launch.json: dapbridge maps paths by itself")
	}
	return m, nil
}

// handOver starts the session and sends the node the IDE's requests so far:
// initialize, which the bridge itself has answered, the attach, and the backlog.
func (c *dapClient) handOver(ctx context.Context, up *upstream, r attachRequest) error {
	attach, err := normalizeAttach(r.body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := up.sendRequest(c.initialize, pendingRequest{fromBridge: true, isMapped: true}); err != nil {
		return err
	}
	if err := up.sendRequest(attach, pendingRequest{seq: r.env.Seq, command: r.env.Command, isMapped: true}); err != nil {
		return err
	}
	c.up = up
	if note := up.sess.Target().Note; note != "" {
		c.notify(diag.Escape(note))
	}
	up.sess.Notify(c.notify)
	c.startSession(up.sess, up.queue)
	for _, body := range c.takeBacklog() {
		if env, err := scanEnvelope(body); err == nil {
			c.forward(body, env)
		}
	}
	return nil
}
