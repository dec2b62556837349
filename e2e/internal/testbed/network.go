//go:build linux

package testbed

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed/ledger"
)

// nodeNetworks is divided into a /30 for each node, in which .1 is this machine and .2
// the node.
func nodeNetworks() netip.Prefix { return netip.MustParsePrefix("10.209.77.0/24") }

const maxNodes = 64

// network is a node's network connection to this machine.
type network struct {
	index int
	netns string
}

func newNetwork(name string, index int) network {
	return network{index: index, netns: "testnode-" + name}
}

// device is the name of this machine's veth device; the node's is eth0.
func (l network) device() string { return "testnode" + strconv.Itoa(l.index) }

func (l network) address(host byte) netip.Addr {
	b := nodeNetworks().Addr().As4()
	b[3] = byte(4*l.index) + host
	return netip.AddrFrom4(b)
}

func (l network) hostIP() netip.Addr { return l.address(1) }
func (l network) nodeIP() netip.Addr { return l.address(2) }

// networksLock keeps two nodes, even in different state directories, from taking the
// same network.
const networksLock = "/run/dapbridge-testnode.lock"

// makeNetwork makes a node's network namespace and its pair of devices, with the first
// free network.
func makeNetwork(ctx context.Context, led *ledger.Ledger, name string) (network, error) {
	unlock, err := lockFile(ctx, networksLock, nil)
	if err != nil {
		return network{}, err
	}
	defer unlock()
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return network{}, err
	}
	for i := range maxNodes {
		l := newNetwork(name, i)
		if exists("/sys/class/net/"+l.device()) || containsAddr(ours, l.hostIP()) {
			continue
		}
		return l, l.create(ctx, led)
	}
	return network{}, fmt.Errorf("all %d networks of %s are in use", maxNodes, nodeNetworks())
}

// containsAddr reports whether one of this machine's networks contains addr.
func containsAddr(ours []net.Addr, addr netip.Addr) bool {
	for _, a := range ours {
		if n, ok := a.(*net.IPNet); ok && n.Contains(addr.AsSlice()) {
			return true
		}
	}
	return false
}

func (l network) create(ctx context.Context, led *ledger.Ledger) error {
	if path := "/run/netns/" + l.netns; exists(path) {
		return fmt.Errorf("%s exists: there is a node of this name in another state directory", path)
	}
	for _, e := range []ledger.Entry{{Kind: ledger.Netns, Name: l.netns}, {Kind: ledger.Link, Name: l.device()}} {
		if err := led.Add(e); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"netns", "add", l.netns},
		{"link", "add", l.device(), "type", "veth", "peer", "name", "eth0", "netns", l.netns},
		{"address", "add", l.hostIP().String() + "/30", "dev", l.device()},
		{"link", "set", l.device(), "up"},
		{"-n", l.netns, "address", "add", l.nodeIP().String() + "/30", "dev", "eth0"},
		{"-n", l.netns, "link", "set", "lo", "up"},
		{"-n", l.netns, "link", "set", "eth0", "up"},
		{"-n", l.netns, "route", "add", "default", "via", l.hostIP().String()},
	} {
		if err := runCommand(ctx, nil, append([]string{"ip"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}
