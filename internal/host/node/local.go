package node

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// markNamedLocal makes n count as local if its host is among those that the user
// has named (Options.LocalNodes). It does not change how the host key is checked.
func (n *Node) markNamedLocal(named []string) {
	for _, host := range n.hosts() {
		if !n.Local && slices.ContainsFunc(named, func(s string) bool { return isSameHost(s, host) }) {
			n.Local, n.Why = true, host+" is named in local-nodes"
		}
	}
}

// hosts returns the names and addresses of n's machine: its name in ssh's
// configuration, and its addresses unless it is behind a proxy, where they belong to
// another network.
func (n *Node) hosts() []string {
	var hosts []string
	if alias, ok := strings.CutPrefix(n.Name, "ssh:"); ok && !strings.HasPrefix(alias, "//") {
		hosts = append(hosts, alias[strings.LastIndexByte(alias, '@')+1:])
	}
	if n.Proxy != nil {
		return hosts
	}
	for _, addr := range n.Addrs {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			hosts = append(hosts, host)
		}
	}
	if n.Container != nil && len(n.Addrs) == 0 {
		hosts = append(hosts, n.Container.Host)
	}
	if n.Exec != nil && n.Exec.Host != "" {
		hosts = append(hosts, n.Exec.Host)
	}
	return hosts
}

// isSameHost reports whether a and b are the same name or address. Names are not
// resolved: see isLoopback.
func isSameHost(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX == nil && errY == nil {
		return x.Unmap() == y.Unmap()
	}
	return strings.EqualFold(a, b)
}
