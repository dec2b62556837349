package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strconv"
)

// maxProcNet bounds how much of /proc/net/tcp is read: more than 100,000 sockets of 150
// bytes.
const maxProcNet = 16 << 20

// States of Linux's include/net/tcp_states.h: a listener's, and those of a client whose
// connection was accepted and which has not closed it. SYN_SENT is not among them: such
// a socket is not our peer, even if it has the same addresses.
const (
	linuxListen      = 10
	linuxEstablished = 1
	linuxFinWait1    = 4 // the peer has shut down its sending side
	linuxFinWait2    = 5
	linuxCloseWait   = 8 // we have shut down ours
)

// socket is a line in Linux's table.
type socket struct {
	entry
	listens bool
	inode   uint64 // identifies it among a process's descriptors; 0 if no process has it
}

// isListeningAt reports whether the socket prevents others from listening at addr.
func (s socket) isListeningAt(addr netip.AddrPort) bool {
	host := s.local.Addr()
	return s.listens && s.local.Port() == addr.Port() && (host == addr.Addr() || host.IsUnspecified())
}

// parseProcNet calls add for each socket in r, the text of /proc/net/tcp or tcp6. The
// format is that of get_tcp4_sock in Linux's net/ipv4/tcp_ipv4.c and get_tcp6_sock in
// net/ipv6/tcp_ipv6.c. Other lines are skipped.
func parseProcNet(r io.Reader, add func(socket)) error {
	limited := &io.LimitedReader{R: r, N: maxProcNet}
	lines := bufio.NewScanner(limited)
	for lines.Scan() {
		if e, ok := parseProcNetLine(lines.Bytes()); ok {
			add(e)
		}
	}
	if limited.N == 0 {
		return errors.New("too many sockets")
	}
	return lines.Err()
}

func parseProcNetLine(line []byte) (socket, bool) {
	// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
	fields := bytes.Fields(line)
	if len(fields) < 10 {
		return socket{}, false
	}
	local, err1 := parseHexAddr(fields[1])
	remote, err2 := parseHexAddr(fields[2])
	state, err3 := strconv.ParseUint(string(fields[3]), 16, 8)
	uid, err4 := strconv.ParseUint(string(fields[7]), 10, 32)
	inode, err5 := strconv.ParseUint(string(fields[9]), 10, 64)
	if errors.Join(err1, err2, err3, err4, err5) != nil {
		return socket{}, false
	}
	live := false
	switch state {
	case linuxEstablished, linuxFinWait1, linuxFinWait2, linuxCloseWait:
		// A socket that its process has closed has no inode, and in most kernels the
		// uid 0, whoever the owner was (sock_i_uid in net/core/sock.c).
		live = inode != 0
	}
	e := entry{local: local, remote: remote, owner: uint32(uid), live: live}
	return socket{e, state == linuxListen, inode}, true
}

// parseHexAddr parses an address and port such as 0100007F:0FC8. The address is printed
// as 32-bit words in the machine's byte order.
func parseHexAddr(text []byte) (netip.AddrPort, error) {
	host, port, found := bytes.Cut(text, []byte(":"))
	if !found || len(host) != 8 && len(host) != 32 {
		return netip.AddrPort{}, errors.New("not an address")
	}
	ip, err := hex.AppendDecode(nil, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i < len(ip); i += 4 {
		binary.NativeEndian.PutUint32(ip[i:], binary.BigEndian.Uint32(ip[i:]))
	}
	n, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
