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

// networks is what is cut into one /30 a node: .1 is this machine's, .2 the node's.
func networks() netip.Prefix { return netip.MustParsePrefix("10.209.77.0/24") }

const maxNodes = 64

// link is one node's connection to this machine.
type link struct {
	index int
	netns string
}

func newLink(name string, index int) link { return link{index: index, netns: "testnode-" + name} }

// device is the name of this machine's end; the node's is eth0.
func (l link) device() string { return "testnode" + strconv.Itoa(l.index) }

func (l link) address(host byte) netip.Addr {
	b := networks().Addr().As4()
	b[3] = byte(4*l.index) + host
	return netip.AddrFrom4(b)
}

func (l link) hostIP() netip.Addr { return l.address(1) }
func (l link) nodeIP() netip.Addr { return l.address(2) }

// networksLock keeps two nodes, also of different state directories, from
// taking the same network.
const networksLock = "/run/dapbridge-testnode.lock"

// makeLink makes a node's network namespace and the pair of devices, in the
// first network that is free.
func makeLink(ctx context.Context, led *ledger.Ledger, name string) (link, error) {
	unlock, err := lockFile(ctx, networksLock, nil)
	if err != nil {
		return link{}, err
	}
	defer unlock()
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return link{}, err
	}
	for i := range maxNodes {
		l := newLink(name, i)
		if exists("/sys/class/net/"+l.device()) || overlaps(ours, l.hostIP()) {
			continue
		}
		return l, l.make(ctx, led)
	}
	return link{}, fmt.Errorf("all %d networks of %s are in use", maxNodes, networks())
}

// overlaps tells whether one of this machine's own networks holds addr.
func overlaps(ours []net.Addr, addr netip.Addr) bool {
	for _, a := range ours {
		if n, ok := a.(*net.IPNet); ok && n.Contains(addr.AsSlice()) {
			return true
		}
	}
	return false
}

func (l link) make(ctx context.Context, led *ledger.Ledger) error {
	if path := "/run/netns/" + l.netns; exists(path) {
		return fmt.Errorf("%s exists: a node of this name lives in another state directory", path)
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
		if err := quiet(ctx, nil, append([]string{"ip"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}
