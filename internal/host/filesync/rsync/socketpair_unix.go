//go:build unix

package rsync

import (
	"net"
	"os"
	"syscall"
)

// socketpair returns two connected sockets, theirs for a child process to inherit.
func socketpair() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // so that no program that is being started inherits them
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "socket")
	defer f.Close() // FileConn duplicates it
	theirs = os.NewFile(uintptr(fds[1]), "socket")
	if ours, err = net.FileConn(f); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
