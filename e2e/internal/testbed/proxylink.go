package testbed

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// maxPieces bounds the pieces in flight on a delayed link in one direction. With pieces
// of up to pieceSize, that is more than the delay of any test holds back.
const (
	maxPieces = 4096
	pieceSize = 32 << 10
)

// pair is a client's connection and the matching connection to the server.
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

// attach adds the connection to the server. If the pair has ended already, it closes
// the connection and reports false.
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

// reset closes both connections with a TCP reset.
func (p *pair) reset() {
	p.closeBoth(func(c net.Conn) {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	})
}

// close closes both connections; it does nothing after reset.
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

// rateLimiter limits the rate of one direction of the link.
type rateLimiter struct {
	mu     sync.Mutex
	idleAt time.Time // when everything sent so far has passed
}

// reserve returns when n more bytes will have passed at the given rate.
func (l *rateLimiter) reserve(n, rate int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.idleAt.Before(now) {
		l.idleAt = now
	}
	l.idleAt = l.idleAt.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	return l.idleAt
}

// piece is data that was read, or the end of the stream if data is nil, with the time
// when it is due.
type piece struct {
	data []byte
	due  time.Time
}

// pump copies from one side to the other until the stream or the pair ends. It passes
// on the end of the stream; an error resets the pair.
func (p *Proxy) pump(pair *pair, from, to net.Conn, l *rateLimiter) {
	pieces := make(chan piece, maxPieces)
	var wg sync.WaitGroup
	wg.Go(func() { p.readPieces(pair, from, pieces) })
	p.writePieces(pair, to, pieces, l)
	wg.Wait()
}

// readPieces reads pieces until the stream or the pair ends, and closes the channel.
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
			next.data = nil // the end of the stream is delayed like any byte
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

// writePieces writes each piece once it is due and the link is not stalled.
func (p *Proxy) writePieces(pair *pair, to net.Conn, pieces <-chan piece, l *rateLimiter) {
	for next := range pieces {
		if !sleepUntil(next.due, pair.ctx.Done()) {
			continue // drain the channel
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

// send writes data in parts that are small enough for a new rate or a stall to take
// effect soon.
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

// sleepUntil waits until due. It reports false if done is closed first.
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

// closeWrite passes on the end of a stream if the connection supports half-closing.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
