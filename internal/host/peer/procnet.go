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

// maxProcNet bounds what is read of /proc/net/tcp: 150 bytes a socket, over
// 100,000 of them.
const maxProcNet = 16 << 20

// States of Linux's include/net/tcp_states.h: a listener's, and those in which a
// client may be when its connection has been accepted and it has not closed it.
// Not SYN_SENT: that socket is not the one we talk to, though its addresses may
// be the same.
const (
	linuxListen      = 10
	linuxEstablished = 1
	linuxFinWait1    = 4 // it shut down its sending side
	linuxFinWait2    = 5
	linuxCloseWait   = 8 // we shut down ours
)

// socket is a line of Linux's table.
type socket struct {
	entry
	listens bool
	inode   uint64 // its name among a process's descriptors; 0 if no process has it
}

// holds reports whether a socket keeps others from listening at addr.
func (s socket) holds(addr netip.AddrPort) bool {
	host := s.local.Addr()
	return s.listens && s.local.Port() == addr.Port() && (host == addr.Addr() || host.IsUnspecified())
}

// parseProcNet hands the sockets in r, the text of /proc/net/tcp or tcp6, to
// add. The format is that of get_tcp4_sock in Linux's net/ipv4/tcp_ipv4.c and
// get_tcp6_sock in net/ipv6/tcp_ipv6.c. Lines of another form are passed over.
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
		// A socket that its process has closed has no inode, and a uid that
		// most kernels show as 0, whoever it was (sock_i_uid in net/core/sock.c).
		live = inode != 0
	}
	e := entry{local: local, remote: remote, owner: uint32(uid), live: live}
	return socket{e, state == linuxListen, inode}, true
}

// parseHexAddr parses 0100007F:0FC8: the address's 32-bit words as the machine
// holds them, and the port.
func parseHexAddr(text []byte) (netip.AddrPort, error) {
	host, port, found := bytes.Cut(text, []byte(":"))
	if !found || len(host) != 8 && len(host) != 32 {
		return netip.AddrPort{}, errors.New("no address")
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
