package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

const tcpTableOwnerPIDAll = 5 // TCP_TABLE_CLASS

func currentUser() (user, error) {
	return tokenUser(windows.GetCurrentProcessToken())
}

func unixOwner(*net.UnixConn) (user, error) {
	return "", errors.New("not supported for unix sockets on Windows; use a loopback port (--listen 127.0.0.1:PORT)")
}

func tcpOwner(local, remote netip.AddrPort) (user, error) {
	pid, err := search(local, remote, readTables)
	if err != nil {
		return "", err
	}
	owner, err := processUser(pid)
	if err != nil {
		return "", fmt.Errorf("process %d: %w", pid, err)
	}
	// Another process may have got the PID before we opened it.
	again, err := search(local, remote, readTables)
	if err != nil {
		return "", err
	}
	if again != pid {
		return "", errNoOwner
	}
	return owner, nil
}

func readTables(add func(entry)) error {
	table, err := extendedTCPTable(windows.AF_INET)
	if err != nil {
		return err
	}
	if err := parseTCPTable(table, add); err != nil {
		return err
	}
	table, err = extendedTCPTable(windows.AF_INET6)
	if err != nil {
		return err
	}
	return parseTCP6Table(table, add)
}

func extendedTCPTable(family uint32) ([]byte, error) {
	proc := windows.NewLazySystemDLL("iphlpapi.dll").NewProc("GetExtendedTcpTable")
	if err := proc.Find(); err != nil {
		return nil, err
	}
	size := uint32(64 << 10)
	for range 8 { // the table may grow between two calls
		table := make([]byte, size)
		status, _, _ := proc.Call(uintptr(unsafe.Pointer(&table[0])), uintptr(unsafe.Pointer(&size)),
			0, uintptr(family), tcpTableOwnerPIDAll, 0)
		switch err := windows.Errno(status); err {
		case windows.NO_ERROR:
			return table, nil
		case windows.ERROR_INSUFFICIENT_BUFFER:
			size += size / 8
		default:
			return nil, os.NewSyscallError("GetExtendedTcpTable", err)
		}
	}
	return nil, os.NewSyscallError("GetExtendedTcpTable", windows.ERROR_INSUFFICIENT_BUFFER)
}

func processUser(pid uint32) (user, error) {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return "", os.NewSyscallError("OpenProcess", err)
	}
	defer windows.CloseHandle(process)
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return "", os.NewSyscallError("OpenProcessToken", err)
	}
	defer token.Close()
	return tokenUser(token)
}

func tokenUser(token windows.Token) (user, error) {
	u, err := token.GetTokenUser()
	if err != nil {
		return "", os.NewSyscallError("GetTokenInformation", err)
	}
	return user(u.User.Sid.String()), nil
}
