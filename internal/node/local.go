package node

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// markNamedLocal makes n count as local if the user has named its host as a toy
// (Options.LocalNodes). How its host key is checked stays as it is.
func (n *Node) markNamedLocal(named []string) {
	for _, host := range n.hosts() {
		if !n.Local && slices.ContainsFunc(named, func(s string) bool { return isSameHost(s, host) }) {
			n.Local, n.Why = true, host+" is named in local-nodes"
		}
	}
}

// hosts returns what n's machine is called: ssh's name for it, and its addresses
// unless they are those of another network, behind a proxy.
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

// isSameHost compares names and addresses. No name is looked up: see isLoopback.
func isSameHost(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX == nil && errY == nil {
		return x.Unmap() == y.Unmap()
	}
	return strings.EqualFold(a, b)
}
