package peer

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func tcpOwner(local, remote netip.AddrPort) (user, error) {
	uid, err := search(local, remote, func(add func(entry)) error {
		// The IPv4 connections of IPv6 sockets are in tcp6.
		addEntry := func(s socket) { add(s.entry) }
		err := readProcNet("/proc/net/tcp6", addEntry)
		if local.Addr().Is4() && (err == nil || errors.Is(err, fs.ErrNotExist)) { // a kernel without IPv6
			err = readProcNet("/proc/net/tcp", addEntry)
		}
		return err
	})
	return userOf(uid), err
}

func readProcNet(name string, add func(socket)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return parseProcNet(f, add)
}

func peerUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return cred.Uid, nil
}
