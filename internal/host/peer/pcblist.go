package peer

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// What macOS's sysctl net.inet.tcp.pcblist_n returns (get_pcblist_n in XNU's
// bsd/netinet/in_pcblist.c): a struct xinpgen, then for each socket a struct
// xinpcb_n, xsocket_n, two xsockbuf_n, xsockstat_n and xtcpcb_n, then an
// xinpgen again. Each begins with its length and kind, is packed to 4 bytes and
// padded to 8. Their lengths grow with the releases; the fields here are at
// these offsets since the structs exist.
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

// States of XNU's bsd/netinet/tcp_fsm.h, as for Linux.
const (
	darwinEstablished = 4
	darwinCloseWait   = 5
	darwinFinWait1    = 6
	darwinFinWait2    = 9
)

// parsePCBList hands the sockets in list to add.
func parsePCBList(list []byte, add func(entry)) error {
	var p pcb
	for list = list[min(xinpgenSize, len(list)):]; len(list) >= 8; {
		size := int(binary.LittleEndian.Uint32(list)) // amd64 and arm64
		if size <= xinpgenSize {                      // the closing one, whose kind is a count
			return nil
		}
		if size > len(list) {
			break
		}
		if p.take(binary.LittleEndian.Uint32(list[4:]), list[:size]) {
			add(p.entry)
		}
		list = list[min((size+7)&^7, len(list)):]
	}
	return errors.New("the list of sockets is cut off")
}

// pcb is a socket of which some records have been read.
type pcb struct {
	entry
	addressed bool
	owned     bool
}

// take notes what record says, and reports whether the socket is complete.
func (p *pcb) take(kind uint32, record []byte) bool {
	host := binary.LittleEndian
	switch {
	case kind == xsoINPCB:
		*p = pcb{addressed: len(record) >= inpEnd}
		if p.addressed {
			p.local, p.remote = parseINPCB(record)
		}
	case kind == xsoSocket && len(record) >= xsoEnd:
		p.owner = host.Uint32(record[xsoUID:])
		// Without a handle there is no socket, or one that a process
		// implements for itself, and the uid is a 0 that means nothing.
		p.owned = host.Uint64(record[xsoHandle:]) != 0
	case kind == xsoTCPCB && len(record) >= tcpStateEnd:
		switch host.Uint32(record[tcpState:]) {
		case darwinEstablished, darwinCloseWait, darwinFinWait1, darwinFinWait2:
			p.live = p.owned
		}
		return p.addressed
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
