package peer

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// States of Windows's MIB_TCP_STATE, chosen as for Linux.
const (
	windowsEstablished = 5
	windowsFinWait1    = 6
	windowsFinWait2    = 7
	windowsCloseWait   = 8
)

// parseTCPTable calls add for each row of a MIB_TCPTABLE_OWNER_PID.
func parseTCPTable(table []byte, add func(entry)) error {
	// dwState, dwLocalAddr, dwLocalPort, dwRemoteAddr, dwRemotePort, dwOwningPid
	return parseRows(table, 24, func(row []byte) {
		local, remote := netip.AddrFrom4([4]byte(row[4:])), netip.AddrFrom4([4]byte(row[12:]))
		add(tableEntry(local, row[8:], remote, row[16:], row[0:], row[20:]))
	})
}

// parseTCP6Table calls add for each row of a MIB_TCP6TABLE_OWNER_PID.
func parseTCP6Table(table []byte, add func(entry)) error {
	// ucLocalAddr[16], dwLocalScopeId, dwLocalPort, ucRemoteAddr[16],
	// dwRemoteScopeId, dwRemotePort, dwState, dwOwningPid
	return parseRows(table, 56, func(row []byte) {
		local, remote := netip.AddrFrom16([16]byte(row)), netip.AddrFrom16([16]byte(row[24:]))
		add(tableEntry(local, row[20:], remote, row[44:], row[48:], row[52:]))
	})
}

// tableEntry expects the ports in network byte order, state and PID in little-endian
// order.
func tableEntry(local netip.Addr, localPort []byte, remote netip.Addr, remotePort, state, pid []byte) entry {
	e := entry{
		local:  unmap(netip.AddrPortFrom(local, binary.BigEndian.Uint16(localPort))),
		remote: unmap(netip.AddrPortFrom(remote, binary.BigEndian.Uint16(remotePort))),
		owner:  binary.LittleEndian.Uint32(pid),
	}
	switch binary.LittleEndian.Uint32(state) {
	case windowsEstablished, windowsFinWait1, windowsFinWait2, windowsCloseWait:
		e.live = e.owner != 0 // 0: its process has closed it
	}
	return e
}

// parseRows calls parse for each row that follows the table's row count.
func parseRows(table []byte, size int, parse func(row []byte)) error {
	if len(table) < 4 {
		return errors.New("the table of sockets is truncated")
	}
	rows := table[4:]
	for range binary.LittleEndian.Uint32(table) {
		if len(rows) < size {
			return errors.New("the table of sockets is truncated")
		}
		parse(rows[:size])
		rows = rows[size:]
	}
	return nil
}
