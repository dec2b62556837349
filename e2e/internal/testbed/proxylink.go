package testbed

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// underWay is how many pieces may be on a delayed link in one direction; with
// pieces of up to pieceSize that is more than any test's delay holds back.
const (
	maxPieces = 4096
	pieceSize = 32 << 10
)

// pair is a client's connection and the one to the server that goes with it.
type pair struct {
	client net.Conn

	mu     sync.Mutex
	server net.Conn // nil until attach

	ctx    context.Context // ends with the pair
	cancel context.CancelFunc
}

func newPair(client net.Conn) *pair {
	ctx, cancel := context.WithCancel(context.Background())
	return &pair{client: client, ctx: ctx, cancel: cancel}
}

// attach adds the server's side, and reports false, having closed it, when the
// pair has ended already.
func (p *pair) attach(server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		server.Close()
		return false
	}
	p.server = server
	return true
}

// reset ends both connections in a way that their far ends see as an error.
func (p *pair) reset() {
	p.closeBoth(func(c net.Conn) {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	})
}

// close ends both connections; it does nothing after reset.
func (p *pair) close() { p.closeBoth(func(net.Conn) {}) }

func (p *pair) closeBoth(before func(net.Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	p.cancel()
	for _, c := range []net.Conn{p.client, p.server} {
		if c != nil {
			before(c)
			c.Close()
		}
	}
}

// lane is one direction of the link, as far as its rate goes.
type rateLimiter struct {
	mu     sync.Mutex
	idleAt time.Time // when what was sent so far has passed
}

// pass returns when n more bytes will have passed at the given rate.
func (l *rateLimiter) reserve(n, rate int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.idleAt.Before(now) {
		l.idleAt = now
	}
	l.idleAt = l.idleAt.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	return l.idleAt
}

// piece is something read, or the end of the stream, and when it is due.
type piece struct {
	data []byte
	due  time.Time
}

// pump carries what comes from one side to the other until the stream ends or
// the pair does. The end of the stream is passed on as such; an error resets
// the pair.
func (p *Proxy) pump(pair *pair, from, to net.Conn, l *rateLimiter) {
	pieces := make(chan piece, maxPieces)
	var wg sync.WaitGroup
	wg.Go(func() { p.readPieces(pair, from, pieces) })
	p.writePieces(pair, to, pieces, l)
	wg.Wait()
}

// take reads pieces and closes the channel when it is over.
func (p *Proxy) readPieces(pair *pair, from io.Reader, pieces chan<- piece) {
	defer close(pieces)
	buf := make([]byte, pieceSize)
	for {
		if _, ok := p.waitFlowing(pair.ctx.Done()); !ok {
			return
		}
		n, err := from.Read(buf)
		c, _ := p.currentState()
		next := piece{due: time.Now().Add(c.delay)}
		if n > 0 {
			next.data = append([]byte(nil), buf[:n]...)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			pair.reset()
			return
		}
		if n > 0 && !sendPiece(pair, pieces, next) {
			return
		}
		if err != nil {
			next.data = nil // the end takes as long as any byte
			sendPiece(pair, pieces, next)
			return
		}
	}
}

func sendPiece(pair *pair, pieces chan<- piece, next piece) bool {
	select {
	case pieces <- next:
		return true
	case <-pair.ctx.Done():
		return false
	}
}

// deliver writes each piece when it is due and the link carries it.
func (p *Proxy) writePieces(pair *pair, to net.Conn, pieces <-chan piece, l *rateLimiter) {
	for next := range pieces {
		if !sleepUntil(next.due, pair.ctx.Done()) {
			continue // drains what take still sends
		}
		if next.data == nil {
			if _, ok := p.waitFlowing(pair.ctx.Done()); ok {
				closeWrite(to)
			}
			continue
		}
		if !p.send(pair, to, next.data, l) {
			pair.reset()
		}
	}
}

// send writes data, in parts small enough that a change of the link's rate or
// a stall takes effect soon.
func (p *Proxy) send(pair *pair, to net.Conn, data []byte, l *rateLimiter) bool {
	for len(data) > 0 {
		c, ok := p.waitFlowing(pair.ctx.Done())
		if !ok {
			return false
		}
		part := data
		if c.rate > 0 {
			part = data[:min(len(data), max(1, c.rate/20))]
			if !sleepUntil(l.reserve(len(part), c.rate), pair.ctx.Done()) {
				return false
			}
			if c, _ = p.currentState(); c.stalled {
				continue
			}
		}
		if _, err := to.Write(part); err != nil {
			return false
		}
		data = data[len(part):]
	}
	return true
}

// sleepUntil waits for a time, and reports false when done is closed.
func sleepUntil(due time.Time, done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	default:
	}
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}

// closeWrite passes the end of a stream on, where the connection can say it.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
