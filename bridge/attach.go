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

// onAttach starts the attach and returns at once: the IDE may go meanwhile,
// and only its reader notices.
func (c *dapClient) handleAttach(body []byte, env envelope) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != phaseInitialized {
		return c.out.refuse(env, fmt.Errorf("%s is not possible now: send initialize first, and attach once", env.Command))
	}
	seat := &holder{name: c.name + " (" + peerName(c.conn) + ")", conn: &c.connection, protocol: DAP, evict: c.evict}
	request := slices.Clone(body)
	c.startAttach(seat,
		func(ctx context.Context) error { return c.attach(ctx, seat, request, env) },
		func(ctx context.Context, err error) { c.attachFailed(ctx, env, err) })
	return nil
}

// attachFailed answers the attach, and what has been asked after it, unless the
// client is going.
func (c *dapClient) attachFailed(ctx context.Context, env envelope, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = phaseInitialized
	if c.ctx.Err() != nil {
		return
	}
	c.out.refuse(env, c.explainAttachFailure(ctx, err))
	for _, late := range c.takeBacklog() {
		if env, err := scanEnvelope(late); err == nil {
			c.out.refuse(env, errors.New("the attach failed"))
		}
	}
}

// attach waits for the slot, has the node attach, and hands the session to the
// IDE. On an error the target is as before.
func (c *dapClient) attach(ctx context.Context, seat *holder, request []byte, env envelope) error {
	var args attachArgs
	if raw, ok := member(request, "arguments"); ok {
		if err := json.Unmarshal(raw, &args); err != nil {
			return diag.Errorf(diag.Usage, "the configuration can't be read: %w", err).WithHint("correct launch.json")
		}
	}
	wish, err := args.dialOptions()
	if err != nil {
		return err
	}
	progress := c.newProgress()
	wish.Progress = progress.update
	sess, err := c.dial(ctx, seat, wish)
	progress.end()
	if err != nil {
		return err
	}
	m, err := args.checkSession(sess)
	if err == nil {
		up := newUpstream(sess, m, c.form)
		up.stale = newStaleChecker(c.ctx, &c.wg, sess)
		err = c.handOver(ctx, up, request, env)
	}
	if err != nil {
		return errors.Join(err, c.endSession(sess, seat))
	}
	return nil
}

// newProgress returns what shows the IDE what takes long.
func (c *dapClient) newProgress() *progressReporter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &progressReporter{out: c.out, isShown: showsProgress(c.initialize)}
}

// fit checks that the session is what the IDE asked for, and returns the map
// of its paths with the IDE's own.
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

// handOver makes the session the client's and sends what the IDE has asked for so
// far: its initialize, whose answer the bridge has given already, the attach,
// and the backlog.
func (c *dapClient) handOver(ctx context.Context, up *upstream, request []byte, env envelope) error {
	attach, err := normalizeAttach(request)
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
	if err := up.sendRequest(attach, pendingRequest{seq: env.Seq, command: env.Command, isMapped: true}); err != nil {
		return err
	}
	c.up = up
	console := func(line string) { c.out.console(line) }
	if note := up.sess.Target().Note; note != "" {
		console(diag.Escape(note))
	}
	up.sess.Notify(console)
	c.startSession(up.sess, up.queue, func() { c.relayNode(up) }, c.lostNode, console)
	for _, late := range c.takeBacklog() {
		if env, err := scanEnvelope(late); err == nil {
			c.forward(late, env)
		}
	}
	return nil
}
