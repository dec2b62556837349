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

// attempt is an attach under way.
type attempt struct {
	giveUp context.CancelCauseFunc // ends it for a reason that the IDE is told
	done   chan struct{}           // closed when it has succeeded, or failed and left nothing
	seat   *holder                 // the client in the slot
}

// onAttach starts the attach and returns at once: the IDE may go meanwhile,
// and only its reader notices.
func (c *client) onAttach(body []byte, env envelope) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != initialized {
		return c.out.refuse(env, fmt.Errorf("%s is not possible now: send initialize first, and attach once", env.Command))
	}
	ctx, giveUp := context.WithCancelCause(c.ctx)
	a := &attempt{
		giveUp: giveUp,
		done:   make(chan struct{}),
		seat:   &holder{name: c.name + " (" + peerName(c.conn) + ")", evict: c.evict},
	}
	c.state, c.attempt = attaching, a
	request := slices.Clone(body)
	c.wg.Go(func() {
		defer close(a.done)
		defer giveUp(nil)
		if err := c.attach(ctx, a.seat, request, env); err != nil {
			c.attachFailed(ctx, env, err)
		}
	})
	return nil
}

// attachFailed answers the attach, and what has been asked after it, unless the
// client is going.
func (c *client) attachFailed(ctx context.Context, env envelope, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = initialized
	if c.ctx.Err() != nil {
		return
	}
	c.log.Warn("attach failed", "error", err)
	if why := context.Cause(ctx); why != nil {
		err = why
	}
	c.out.refuse(env, err)
	for _, late := range c.backlog {
		if env, err := scanEnvelope(late); err == nil {
			c.out.refuse(env, errors.New("the attach failed"))
		}
	}
	c.backlog, c.backlogged = nil, 0
}

// attach waits for the slot, has the node attach, and hands the session to the
// IDE. On an error the target is as before.
func (c *client) attach(ctx context.Context, seat *holder, request []byte, env envelope) error {
	var args attachArgs
	if raw, ok := member(request, "arguments"); ok {
		if err := json.Unmarshal(raw, &args); err != nil {
			return diag.Errorf(diag.Usage, "the configuration can't be read: %w", err).WithHint("correct launch.json")
		}
	}
	if err := c.srv.slot.acquire(ctx, seat, c.srv.cfg.Takeover); err != nil {
		return err
	}
	sess, err := c.srv.cfg.Dialer.Dial(ctx, DAP)
	if err != nil {
		c.srv.slot.release(seat)
		return err
	}
	m, err := args.fit(sess)
	if err == nil {
		err = c.begin(ctx, newUpstream(sess, m), request, env)
	}
	if err != nil {
		return errors.Join(err, c.end(sess, seat))
	}
	return nil
}

// fit checks that the session is what the IDE asked for, and returns the map
// of its paths with the IDE's own.
func (a attachArgs) fit(sess Session) (*pathmap.Map, error) {
	if err := a.checkProcess(sess.Target()); err != nil {
		return nil, err
	}
	m, err := sess.Map().WithClient(a.rules())
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "substitutePath: %w", err).WithHint("remove substitutePath from launch.json: dapbridge maps paths by itself")
	}
	return m, nil
}

// begin makes the session the client's and sends what the IDE has asked for so
// far: its initialize, whose answer the bridge has given already, the attach,
// and the backlog.
func (c *client) begin(ctx context.Context, up *upstream, request []byte, env envelope) error {
	attach, err := normalizeAttach(request)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := up.sendScanned(c.initialize, pending{own: true}); err != nil {
		return err
	}
	if err := up.sendScanned(attach, pending{seq: env.Seq, command: env.Command}); err != nil {
		return err
	}
	c.up, c.state = up, attached
	c.halt.target, c.halt.tell = up.sess.Target().Name, func(line string) { c.out.console(line) }
	c.halt.halted()
	c.wg.Go(func() { c.relayNode(up) })
	c.wg.Go(func() { c.lostNode(up.queue.run(up.sess)) })
	for _, late := range c.backlog {
		if env, err := scanEnvelope(late); err == nil {
			c.forward(late, env)
		}
	}
	c.backlog = nil
	return nil
}
