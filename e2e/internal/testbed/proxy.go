package testbed

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy relays to a TCP server, such as a node's sshd, over a simulated link that can be
// slow, limited, silent or broken, which not every kernel can simulate itself. Its
// methods may be called at any time and by several goroutines. They affect existing
// and future connections.
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

// linkState is the state of the simulated link. The zero value passes everything at
// once.
type linkState struct {
	delay    time.Duration
	rate     int // bytes a second, 0 for no limit
	stalled  bool
	refusing bool
}

// NewProxy listens on a free port of 127.0.0.1 and relays to target, a host:port.
func NewProxy(target string) (*Proxy, error) { return NewProxyAt("127.0.0.1:0", target) }

// NewProxyAt is NewProxy with an address to listen on.
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

// Addr returns the address that the proxy listens on.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Delay delays every byte by d in each direction. It does not limit the throughput.
// Bytes that are in flight keep their former delay.
func (p *Proxy) Delay(d time.Duration) { p.update(func(c *linkState) { c.delay = max(0, d) }) }

// Rate limits the throughput of all connections together in each direction; 0 removes
// the limit.
func (p *Proxy) Rate(bytesPerSecond int) {
	p.update(func(c *linkState) { c.rate = max(0, bytesPerSecond) })
}

// Stall makes the link silent: nothing more is read or written. Nothing is lost,
// connections stay open, and new ones get no answer.
func (p *Proxy) Stall() { p.update(func(c *linkState) { c.stalled = true }) }

// Resume ends a Stall and delivers what was held back.
func (p *Proxy) Resume() { p.update(func(c *linkState) { c.stalled = false }) }

// CutNew sets whether new connections are reset at once.
func (p *Proxy) CutNew(on bool) { p.update(func(c *linkState) { c.refusing = on }) }

// Cut resets all existing connections on both sides. Bytes in flight are lost. New
// connections are accepted as before.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.reset()
	}
}

// Conns returns the number of connections, including those that wait for a stalled link.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// Close resets all connections, stops listening and waits until all goroutines of the
// proxy have ended.
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

// currentState returns the link's state, and a channel that is closed when it changes.
func (p *Proxy) currentState() (linkState, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}

// waitFlowing waits until the link is not stalled and returns its state. It reports
// false if done is closed first.
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

// add registers a client's connection. If the proxy refuses it, add resets it and
// returns nil.
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

// connect dials the server once the link is not stalled, and relays until both
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
