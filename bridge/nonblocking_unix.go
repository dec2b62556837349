//go:build unix

package bridge

import (
	"net"
	"syscall"
)

// nonblockingWriter returns a function that writes to conn what the system accepts at
// once and returns how many bytes that was. It returns nil if conn has no descriptor.
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
		// The descriptor is non-blocking; true means not to wait until it is writable.
		raw.Write(func(fd uintptr) bool {
			n, _ = syscall.Write(int(fd), p) // run will get the same error
			return true
		})
		return max(n, 0)
	}
}
