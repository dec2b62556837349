//go:build linux || darwin

package peer

import (
	"net"
	"os"
	"strconv"
)

func currentUser() (user, error) { return userOf(uint32(os.Geteuid())), nil }

func userOf(uid uint32) user { return user(strconv.FormatUint(uint64(uid), 10)) }

// unixOwner asks the kernel, which records the peer's user when a connection is made.
func unixOwner(conn *net.UnixConn) (user, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", err
	}
	var uid uint32
	var uidErr error
	if err := raw.Control(func(fd uintptr) { uid, uidErr = peerUID(int(fd)) }); err != nil {
		return "", err
	}
	return userOf(uid), uidErr
}
