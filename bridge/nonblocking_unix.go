//go:build unix

package bridge

import (
	"net"
	"syscall"
)

// nonblockingWriter returns a function that writes to conn what the system takes at
// once and says how much that was, or nil if conn has no descriptor.
func nonblockingWriter(conn net.Conn) func(p []byte) int {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func(p []byte) (n int) {
		// The descriptor is non-blocking; true says not to wait for it.
		raw.Write(func(fd uintptr) bool {
			n, _ = syscall.Write(int(fd), p) // an error will meet run as well
			return true
		})
		return max(n, 0)
	}
}
