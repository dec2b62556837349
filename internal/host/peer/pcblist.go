package peer

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The format of macOS's sysctl net.inet.tcp.pcblist_n (get_pcblist_n in XNU's
// bsd/netinet/in_pcblist.c): a struct xinpgen, then for each socket a struct xinpcb_n,
// xsocket_n, two xsockbuf_n, xsockstat_n and xtcpcb_n, then another xinpgen. Each begins
// with its length and kind, is packed to 4 bytes and padded to 8. The lengths grow with
// the releases, but the fields below have always been at these offsets.
const (
	xinpgenSize = 24

	xsoSocket = 0x001
	xsoINPCB  = 0x010
	xsoTCPCB  = 0x020

	inpForeignPort = 16 // network byte order
	inpLocalPort   = 18
	inpVFlag       = 44
	inpForeignAddr = 48 // 16 bytes, an IPv4 address in the last 4
	inpLocalAddr   = 64
	inpEnd         = 80

	xsoHandle = 8
	xsoUID    = 64
	xsoEnd    = 68

	tcpState    = 36
	tcpStateEnd = 40

	vflagIPv4 = 1
)

// States of XNU's bsd/netinet/tcp_fsm.h, chosen as for Linux.
const (
	darwinEstablished = 4
	darwinCloseWait   = 5
	darwinFinWait1    = 6
	darwinFinWait2    = 9
)

// parsePCBList calls add for each socket in list.
func parsePCBList(list []byte, add func(entry)) error {
	var p pcb
	for list = list[min(xinpgenSize, len(list)):]; len(list) >= 8; {
		size := int(binary.LittleEndian.Uint32(list)) // amd64 and arm64
		if size <= xinpgenSize {                      // the final xinpgen, whose second word is a count
			return nil
		}
		if size > len(list) {
			break
		}
		if p.addRecord(binary.LittleEndian.Uint32(list[4:]), list[:size]) {
			add(p.entry)
		}
		list = list[min((size+7)&^7, len(list)):]
	}
	return errors.New("the list of sockets is truncated")
}

// pcb is a socket whose records are being read.
type pcb struct {
	entry
	hasAddrs bool
	hasOwner bool
}

// addRecord adds a record to the socket, and reports whether the socket is complete.
func (p *pcb) addRecord(kind uint32, record []byte) bool {
	host := binary.LittleEndian
	switch {
	case kind == xsoINPCB:
		*p = pcb{hasAddrs: len(record) >= inpEnd}
		if p.hasAddrs {
			p.local, p.remote = parseINPCB(record)
		}
	case kind == xsoSocket && len(record) >= xsoEnd:
		p.owner = host.Uint32(record[xsoUID:])
		// Without a handle there is no socket, or one that a process implements
		// itself, and the uid is a meaningless 0.
		p.hasOwner = host.Uint64(record[xsoHandle:]) != 0
	case kind == xsoTCPCB && len(record) >= tcpStateEnd:
		switch host.Uint32(record[tcpState:]) {
		case darwinEstablished, darwinCloseWait, darwinFinWait1, darwinFinWait2:
			p.live = p.hasOwner
		}
		return p.hasAddrs
	}
	return false
}

func parseINPCB(record []byte) (local, remote netip.AddrPort) {
	end := func(addr, port int) netip.AddrPort {
		ip := netip.AddrFrom16([16]byte(record[addr:]))
		if record[inpVFlag]&vflagIPv4 != 0 {
			ip = netip.AddrFrom4([4]byte(record[addr+12:]))
		}
		return unmap(netip.AddrPortFrom(ip, binary.BigEndian.Uint16(record[port:])))
	}
	return end(inpLocalAddr, inpLocalPort), end(inpForeignAddr, inpForeignPort)
}
