package bridge

import (
	"net"
	"time"
)

// refuseTimeout bounds how long an IDE may take to send its first request and to read
// the response.
const refuseTimeout = 30 * time.Second

// Refuse answers the first request of a DAP client on conn with the error why, which
// an IDE shows to its user, and closes conn. It is for a server that cannot start.
func Refuse(conn net.Conn, why error) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(refuseTimeout))
	body, err := newFrameReader(conn, maxHeader, maxRPCRequest).read()
	if err != nil {
		return
	}
	env, err := scanEnvelope(body)
	if err != nil || env.Type != "request" {
		return
	}
	q := newQueue()
	q.tryWrite = func(p []byte) int { n, _ := conn.Write(p); return n }
	newOutbox(q, conn).refuse(env, why)
}
