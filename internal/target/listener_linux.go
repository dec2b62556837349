package target

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// listener returns the process that answers on a unix socket, 0 if there is none
// or it can't be told: who called listen (unix(7), SO_PEERCRED), or if that is
// systemd the service that it has handed the socket to, once that runs.
func listener(socket string) int {
	conn, err := net.DialTimeout("unix", socket, time.Second)
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
		if table, err := os.ReadFile(procRoot + "/net/unix"); err == nil {
			return holder(listening(table, socket), pid)
		}
	}
	return pid
}

// listening returns the inode of the socket that listens on a path, of the table
// /proc/net/unix (unix_seq_show in net/unix/af_unix.c), "" if there is none. The
// path may be seen through a process's root.
func listening(table []byte, socket string) string {
	const accepts = 1 << 16 // __SO_ACCEPTCON
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line) // Num RefCount Protocol Flags Type St Inode Path
		if len(fields) != 8 || !bytes.HasSuffix([]byte(socket), fields[7]) {
			continue
		}
		if flags, err := strconv.ParseUint(string(fields[3]), 16, 32); err == nil && flags&accepts != 0 {
			return string(fields[6])
		}
	}
	return ""
}

// holder returns a process other than systemd that has the socket open, systemd if
// there is none.
func holder(inode string, systemd int) int {
	pids, err := numbers(procRoot)
	if err != nil || inode == "" {
		return systemd
	}
	for _, pid := range pids {
		fds, err := numbers(procPath(pid, "fd"))
		if err != nil || pid == systemd {
			continue
		}
		for _, fd := range append(fds, 0) {
			if link, err := os.Readlink(procPath(pid, "fd/"+strconv.Itoa(fd))); err == nil && link == "socket:["+inode+"]" {
				return pid
			}
		}
	}
	return systemd
}
