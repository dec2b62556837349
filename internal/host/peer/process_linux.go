package peer

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// findListener looks the socket up in /proc/net/tcp, and then the process that has a
// descriptor for it (proc_pid_fd(5)). Only this user's processes can be inspected.
func findListener(addr netip.AddrPort) (Process, bool) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		_ = readProcNet(table, func(s socket) { // a kernel without IPv6 has only the first
			if s.isListeningAt(addr) {
				sockets[fmt.Sprintf("socket:[%d]", s.inode)] = true
			}
		})
	}
	return socketOwner(sockets)
}

// findClient finds the process at the other end of a connection within this machine.
func findClient(local, remote netip.AddrPort) (Process, bool) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		_ = readProcNet(table, func(s socket) {
			if s.live && s.local == remote && s.remote == local {
				sockets[fmt.Sprintf("socket:[%d]", s.inode)] = true
			}
		})
	}
	return socketOwner(sockets)
}

// socketOwner returns a process that has one of the sockets, which are named as in
// /proc.
func socketOwner(sockets map[string]bool) (Process, bool) {
	if len(sockets) == 0 {
		return Process{}, false
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err != nil || !sockets[name] {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(fd, "/")[2]); err == nil {
			return Process{PID: pid, Command: commandLine(pid)}, true
		}
	}
	return Process{}, false
}

func unixPeer(conn syscall.Conn) (Process, bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Process{}, false
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid) // 0 if it is outside our PID namespace
		}
	})
	return Process{PID: pid, Command: commandLine(pid)}, err == nil && pid > 0
}

// maxCommandLine bounds how much of a command line is returned.
const maxCommandLine = 120

// commandLine returns the command line of a process, "?" if it can't be read.
func commandLine(pid int) string {
	f, err := os.Open(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "?"
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCommandLine+1))
	if err != nil || len(data) == 0 {
		return "?"
	}
	text := string(bytes.Map(func(r rune) rune {
		if r < ' ' { // a NUL ends each argument
			return ' '
		}
		return r
	}, bytes.TrimRight(data, "\x00")))
	if len(data) > maxCommandLine {
		text = strings.ToValidUTF8(text[:maxCommandLine], "") + "…"
	}
	return text
}
