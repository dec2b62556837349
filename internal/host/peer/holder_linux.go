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

// listener looks the socket up in /proc/net/tcp, and then whose descriptor it
// is (proc_pid_fd(5)). Only this user's processes can be looked into.
func listener(addr netip.AddrPort) (Process, bool) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		_ = readProcNet(table, func(s socket) { // a kernel without IPv6 has one of them
			if s.holds(addr) {
				sockets[fmt.Sprintf("socket:[%d]", s.inode)] = true
			}
		})
	}
	return having(sockets)
}

// client looks for the other end of a connection of this machine's.
func client(here, there netip.AddrPort) (Process, bool) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		_ = readProcNet(table, func(s socket) {
			if s.live && s.local == there && s.remote == here {
				sockets[fmt.Sprintf("socket:[%d]", s.inode)] = true
			}
		})
	}
	return having(sockets)
}

// having returns a process that has one of the sockets, named as in /proc.
func having(sockets map[string]bool) (Process, bool) {
	if len(sockets) == 0 {
		return Process{}, false
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err != nil || !sockets[name] {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(fd, "/")[2]); err == nil {
			return Process{PID: pid, Command: command(pid)}, true
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
			pid = int(cred.Pid) // 0 if it is outside our pid namespace
		}
	})
	return Process{PID: pid, Command: command(pid)}, err == nil && pid > 0
}

// commandLimit bounds how much of a command line is told.
const commandLimit = 120

// command returns the command line of a process, "?" if it can't be read.
func command(pid int) string {
	f, err := os.Open(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "?"
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, commandLimit+1))
	if err != nil || len(data) == 0 {
		return "?"
	}
	text := string(bytes.Map(func(r rune) rune {
		if r < ' ' { // a NUL ends each argument
			return ' '
		}
		return r
	}, bytes.TrimRight(data, "\x00")))
	if len(data) > commandLimit {
		text = strings.ToValidUTF8(text[:commandLimit], "") + "…"
	}
	return text
}
