package peer

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func tcpOwner(local, remote netip.AddrPort) (user, error) {
	uid, err := search(local, remote, func(add func(entry)) error {
		list, err := unix.SysctlRaw("net.inet.tcp.pcblist_n")
		if err != nil {
			return os.NewSyscallError("sysctl net.inet.tcp.pcblist_n", err)
		}
		return parsePCBList(list, add)
	})
	return userOf(uid), err
}

func peerUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt LOCAL_PEERCRED", err)
	}
	return cred.Uid, nil
}
