package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// onAttach starts the attach and returns at once: the IDE may go meanwhile,
// and only its reader notices.
func (c *client) onAttach(body []byte, env envelope) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != initialized {
		return c.out.refuse(env, fmt.Errorf("%s is not possible now: send initialize first, and attach once", env.Command))
	}
	c.state = attaching
	request := slices.Clone(body)
	c.wg.Go(func() {
		if err := c.attach(request, env); err != nil {
			c.attachFailed(env, err)
		}
	})
	return nil
}

// attachFailed answers the attach, and what has been asked after it.
func (c *client) attachFailed(env envelope, err error) {
	if c.ctx.Err() == nil {
		c.log.Warn("attach failed", "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = initialized
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
func (c *client) attach(request []byte, env envelope) error {
	var args attachArgs
	if raw, ok := member(request, "arguments"); ok {
		if err := json.Unmarshal(raw, &args); err != nil {
			return diag.Errorf(diag.Usage, "the configuration can't be read: %w", err).WithHint("correct launch.json")
		}
	}
	seat := &holder{name: c.name + " (" + peerName(c.conn) + ")", evict: c.evict}
	if err := c.srv.slot.acquire(c.ctx, seat, c.srv.cfg.Takeover); err != nil {
		return err
	}
	up, err := c.dial(args)
	if err != nil {
		c.srv.slot.release(seat)
		return err
	}
	return c.begin(up, seat, request, env)
}

// dial has the node attach, and checks that it is what the IDE asked for.
func (c *client) dial(args attachArgs) (*upstream, error) {
	sess, err := c.srv.cfg.Dialer.Dial(c.ctx)
	if err != nil {
		return nil, err
	}
	err = args.checkProcess(sess.Target())
	m, mapErr := sess.Map().WithClient(args.rules())
	if mapErr != nil {
		mapErr = diag.Errorf(diag.Usage, "substitutePath: %w", mapErr).WithHint("remove substitutePath from launch.json: dapbridge maps paths by itself")
	}
	if err = errors.Join(err, mapErr); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		return nil, errors.Join(err, sess.End(ctx))
	}
	return newUpstream(sess, m), nil
}

// begin makes the session the client's and sends what the IDE has asked for so
// far: its initialize, whose answer the bridge has given already, the attach,
// and the backlog.
func (c *client) begin(up *upstream, seat *holder, request []byte, env envelope) error {
	attach, err := normalizeAttach(request)
	if err != nil {
		return errors.Join(err, c.abandon(up, seat))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return errors.Join(c.ctx.Err(), c.abandon(up, seat))
	}
	c.up, c.seat, c.state = up, seat, attached
	c.halt.target, c.halt.tell = up.sess.Target().Name, func(line string) { c.out.console(line) }
	c.halt.halted()
	c.wg.Go(c.relayNode)
	c.sendScanned(c.initialize, pending{own: true})
	c.sendScanned(attach, pending{seq: env.Seq, command: env.Command})
	for _, late := range c.backlog {
		if env, err := scanEnvelope(late); err == nil {
			c.forward(late, env)
		}
	}
	c.backlog = nil
	return nil
}

func (c *client) sendScanned(body []byte, p pending) {
	env, err := scanEnvelope(body)
	if err == nil {
		err = c.up.send(body, env, p)
	}
	if err != nil {
		c.log.Warn("to the node", "error", err) // its reader ends the session
	}
}

// abandon ends a session that never became the client's.
func (c *client) abandon(up *upstream, seat *holder) error {
	defer c.srv.slot.release(seat)
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return up.sess.End(ctx)
}
