package testbed

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy stands in front of a TCP server, a node's sshd for one, and makes the
// way there long, thin, silent or broken, which this kernel cannot do itself.
// Its methods may be called at any time and from several goroutines; they take
// effect on connections that exist as well as on later ones.
type Proxy struct {
	target   string
	listener net.Listener

	mu      sync.Mutex
	state   linkState
	changed chan struct{} // closed and replaced when now changes
	pairs   map[*pair]struct{}
	closed  bool

	up, down rateLimiter // the link's two directions, shared by all connections
	wg       sync.WaitGroup
}

// conditions are what the link is like at a time. The zero value is a link
// that is not there: everything passes at once.
type linkState struct {
	delay    time.Duration
	rate     int // bytes a second, 0 for no limit
	stalled  bool
	refusing bool
}

// NewProxy listens on a free port of 127.0.0.1 and passes what comes to
// target, a host:port.
func NewProxy(target string) (*Proxy, error) { return NewProxyAt("127.0.0.1:0", target) }

// NewProxyAt is NewProxy with the address to listen on.
func NewProxyAt(listen, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy: %w", err)
	}
	p := newProxy()
	p.target, p.listener = target, l
	p.wg.Go(p.accept)
	return p, nil
}

func newProxy() *Proxy {
	return &Proxy{changed: make(chan struct{}), pairs: map[*pair]struct{}{}}
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Delay makes every byte take d longer, in each direction. It does not limit
// how much is under way. Bytes that are under way keep the delay they had.
func (p *Proxy) Delay(d time.Duration) { p.update(func(c *linkState) { c.delay = max(0, d) }) }

// Rate limits each direction to so many bytes a second, all connections
// together; 0 lifts the limit.
func (p *Proxy) Rate(bytesPerSecond int) {
	p.update(func(c *linkState) { c.rate = max(0, bytesPerSecond) })
}

// Stall makes the link silent: nothing more is taken in or delivered, nothing
// is lost, connections stay, and new ones get no answer.
func (p *Proxy) Stall() { p.update(func(c *linkState) { c.stalled = true }) }

// Resume ends a Stall; what was held back is delivered.
func (p *Proxy) Resume() { p.update(func(c *linkState) { c.stalled = false }) }

// CutNew makes new connections be reset at once, or no longer.
func (p *Proxy) CutNew(on bool) { p.update(func(c *linkState) { c.refusing = on }) }

// Cut resets every connection that there is, both ways. What was under way is
// lost. New connections are taken as before.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.reset()
	}
}

// Conns is the number of connections, those in front of a stalled link included.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// Close resets every connection, stops listening and waits until all
// goroutines of the proxy have ended.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	for pair := range p.pairs {
		pair.reset()
	}
	p.mu.Unlock()
	var err error
	if p.listener != nil {
		err = p.listener.Close()
	}
	p.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

func (p *Proxy) update(edit func(*linkState)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	edit(&p.state)
	close(p.changed)
	p.changed = make(chan struct{})
}

// conditions returns what the link is like, and a channel that is closed when
// that changes.
func (p *Proxy) currentState() (linkState, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}

// flowing waits until the link is not stalled and returns what it is like; it
// reports false when done is closed first.
func (p *Proxy) waitFlowing(done <-chan struct{}) (linkState, bool) {
	for {
		c, changed := p.currentState()
		if !c.stalled {
			return c, true
		}
		select {
		case <-changed:
		case <-done:
			return c, false
		}
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		pair := p.add(client)
		if pair == nil {
			continue
		}
		p.wg.Go(func() {
			defer p.remove(pair)
			p.connect(pair)
		})
	}
}

// add registers a client's connection, or resets it and returns nil.
func (p *Proxy) add(client net.Conn) *pair {
	pair := newPair(client)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.state.refusing {
		pair.reset()
		return nil
	}
	p.pairs[pair] = struct{}{}
	return pair
}

func (p *Proxy) remove(pair *pair) {
	pair.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, pair)
}

// connect reaches the server as soon as the link lets it and relays until both
// directions have ended.
func (p *Proxy) connect(pair *pair) {
	if _, ok := p.waitFlowing(pair.ctx.Done()); !ok {
		return
	}
	var dialer net.Dialer
	server, err := dialer.DialContext(pair.ctx, "tcp", p.target)
	if err != nil || !pair.attach(server) {
		pair.reset()
		return
	}
	p.relay(pair)
}

// relay copies both ways until both have ended.
func (p *Proxy) relay(pair *pair) {
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(pair, pair.client, pair.server, &p.up) })
	wg.Go(func() { p.pump(pair, pair.server, pair.client, &p.down) })
	wg.Wait()
}
