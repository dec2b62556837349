package procfs

import (
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// findSocketOwner returns the process that serves a unix socket below the directory
// root, 0 if there is none or it is not known: the one that called listen (unix(7),
// SO_PEERCRED), or if that is systemd, the service to which it has passed the socket,
// once the service runs.
func findSocketOwner(root, socket string) int {
	conn, err := net.DialTimeout("unix", root+socket, time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if pid == 1 {
		return findServiceProcess(root, socket)
	}
	return pid
}

// findServiceProcess returns the process besides systemd that has one of systemd's
// sockets open, 1 if there is none. socket may be a link, for example through
// /var/run.
func findServiceProcess(root, socket string) int {
	table, err := readTable(os.Getpid(), "net/unix")
	if err != nil {
		return 1
	}
	names := []string{socket}
	if real, err := filepath.EvalSymlinks(root + socket); err == nil {
		names = append(names, real)
	}
	for _, name := range names {
		for _, s := range parseUnixSockets(table, name) {
			if s.listens {
				return findHolder(s.inode, 1)
			}
		}
	}
	return 1
}
