package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ListUnixListeners returns the names of the unix sockets that a process listens on:
// paths, and abstract names with a leading @ (unix(7)). Another process may have
// chosen the same name.
func ListUnixListeners(pid int) ([]string, error) {
	table, err := readTable(pid, "net/unix")
	if err != nil {
		return nil, err
	}
	own, err := readDescriptors(pid)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range parseNamedListeners(table) {
		if own["socket:["+s.inode+"]"] && !slices.Contains(names, s.name) {
			names = append(names, s.name)
		}
	}
	return names, nil
}

// readDescriptors returns what a process has open, as the links in /proc/PID/fd show
// it.
func readDescriptors(pid int) (map[string]bool, error) {
	fds, err := readNumbers(procPath(pid, "fd"))
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, fd := range append(fds, 0) {
		if link, err := os.Readlink(procPath(pid, "fd/"+strconv.Itoa(fd))); err == nil {
			own[link] = true
		}
	}
	return own, nil
}

// IsListening reports whether a process listens on a TCP port, at any address.
func IsListening(pid, port int) (bool, error) {
	own, err := readDescriptors(pid)
	if err != nil {
		return false, err
	}
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		table, err := readTable(pid, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return false, err
		}
		for _, inode := range parseTCPListeners(table, port) {
			if own["socket:["+inode+"]"] {
				return true, nil
			}
		}
	}
	return false, nil
}

// parseTCPListeners returns the inodes of the sockets that listen on a port, from
// /proc/net/tcp (proc(5)): the second column is ADDRESS:PORT in hex, the fourth the
// state, where 0A is TCP_LISTEN, and the tenth the inode.
func parseTCPListeners(table []byte, port int) (inodes []string) {
	local := fmt.Sprintf(":%04X", port)
	for line := range bytes.Lines(table) {
		if f := strings.Fields(string(line)); len(f) > 9 && strings.HasSuffix(f[1], local) && f[3] == "0A" {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}

// namedListener is a listening unix socket with a name.
type namedListener struct{ inode, name string }

// parseNamedListeners returns the named listeners in /proc/net/unix, whose columns are
// Num, RefCount, Protocol, Flags, Type, St, Inode and Path; see parseUnixSockets.
func parseNamedListeners(table []byte) []namedListener {
	var list []namedListener
	for line := range bytes.Lines(table) {
		text := strings.TrimSuffix(string(line), "\n")
		fields := strings.Fields(text)
		at := strings.IndexAny(text, "/@") // no other column contains these
		if at < 1 || text[at-1] != ' ' || len(fields) < 8 || fields[3] != "00010000" {
			continue
		}
		list = append(list, namedListener{fields[6], text[at:]})
	}
	return list
}

// findHolder returns a process other than systemd that has the socket open, systemd if
// there is none.
func findHolder(inode string, systemd int) int {
	pids, err := readNumbers(procRoot)
	if err != nil || inode == "" {
		return systemd
	}
	for _, pid := range pids {
		fds, err := readNumbers(procPath(pid, "fd"))
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
