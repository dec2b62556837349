package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
	"github.com/dapbridge/dapbridge/internal/dapclient"
)

// lease is how long the node holds the target without a message from the daemon in these
// tests.
const lease = 3 * time.Second

// TestWireLost stalls or cuts the connection: the node releases the target by itself,
// the IDE gets the reason, and the next session connects again.
func TestWireLost(t *testing.T) {
	f := setup(t)
	for _, tt := range []struct {
		name      string
		situation situation
		lose      func(*testbed.Proxy)
		within    time.Duration // the node is free, from then on
	}{
		{"stalled, halted", haltTarget, (*testbed.Proxy).Stall, lease + 4*time.Second},
		{"stalled, running", runUnderLoad, (*testbed.Proxy).Stall, lease + 4*time.Second},
		{"cut, halted", haltTarget, (*testbed.Proxy).Cut, lease - time.Second},
		{"cut, running", runUnderLoad, (*testbed.Proxy).Cut, lease - time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pid := f.containerd(t)
			s, proxy := f.serveThroughProxy(t)
			i := s.ide(t)
			defer i.Close()
			pod := tt.situation(t, f, i.Client)
			start := time.Now()
			tt.lose(proxy)
			f.waitFree(t, pid, tt.within)
			t.Logf("free %s after the loss", time.Since(start).Round(10*time.Millisecond))
			s.toldOfTheEnd(t, i.Client, "the connection to the node was lost")
			proxy.Resume()
			s.checkServes(t)
			f.checkWorks(t, pod)
		})
	}
}

// TestWireCutAndBack starts the next session as soon as the IDE can know that the
// connection was cut.
func TestWireCutAndBack(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	s, proxy := f.serveThroughProxy(t)
	i := s.ide(t)
	defer i.Close()
	runUnderLoad(t, f, i.Client)
	proxy.Cut()
	s.toldOfTheEnd(t, i.Client, "the connection to the node was lost")
	s.checkServes(t)
	f.waitFree(t, pid, 5*time.Second)
	f.checkWorks(t, "")
}

// TestWireStallsShortly stalls the connection for less than the lease: nothing happens.
func TestWireStallsShortly(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	s, proxy := f.serveThroughProxy(t)
	i := s.ide(t)
	defer i.Close()
	pod, stop := stopInCreateContainer(t, f, i.Client, f.lineOf(t, createContainerFile, createContainerCode))
	proxy.Stall()
	asked, err := i.Send("threads", nil)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(lease / 2)
	if bound := f.whyHeld(pid); bound == "" {
		t.Error("containerd was released before the lease expired")
	}
	proxy.Resume()
	if _, err := i.Wait(short(t), asked); err != nil {
		t.Fatal(err)
	}
	if err := i.Next(short(t), stop.ThreadId); err != nil {
		t.Fatal(err)
	}
	if _, err := i.WaitStopped(short(t)); err != nil {
		t.Fatal(err)
	}
	if err := i.Disconnect(short(t), false); err != nil {
		t.Error(err)
	}
	f.waitFree(t, pid, 5*time.Second)
	f.checkWorks(t, pod)
}

// TestDaemonEndsWithoutWire ends the daemon while the connection is stalled.
func TestDaemonEndsWithoutWire(t *testing.T) {
	f := setup(t)
	pid := f.containerd(t)
	s, proxy := f.serveThroughProxy(t)
	i := s.ide(t)
	defer i.Close()
	pod := haltTarget(t, f, i.Client)
	proxy.Stall()
	s.cmd.Process.Signal(os.Interrupt)
	if status := s.exit(t, 3*lease); status != 0 {
		t.Errorf("exit status %d", status)
	}
	f.waitFree(t, pid, 2*lease)
	f.checkWorks(t, pod)
	proxy.Resume()
	f.waitDeserted(t, 5*time.Second)
}

// serveThroughProxy starts a daemon that connects to the node through a proxy.
func (f *fixture) serveThroughProxy(t *testing.T) (*server, *testbed.Proxy) {
	t.Helper()
	proxy, args := f.proxy(t)
	return f.serveNode(t, append(args, "--lease", lease.String())...), proxy
}

// proxy starts a proxy in front of the node, and returns the flags that make dapbridge
// use it as an ordinary SSH host on loopback.
func (f *fixture) proxy(t testing.TB) (proxy *testbed.Proxy, args []string) {
	t.Helper()
	proxy, err := testbed.NewProxy(f.node.SSHAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	host, port, err := net.SplitHostPort(proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ssh := filepath.Join(f.home, ".ssh")
	if err := os.MkdirAll(ssh, 0o755); err != nil {
		t.Fatal(err)
	}
	known := ""
	for line := range strings.Lines(f.node.KnownHostsLine()) {
		_, key, _ := strings.Cut(line, " ")
		known += fmt.Sprintf("[%s]:%s %s", host, port, key)
	}
	if err := os.WriteFile(filepath.Join(ssh, "known_hosts"), []byte(known), 0o644); err != nil {
		t.Fatal(err)
	}
	return proxy, []string{"--node", "ssh://" + f.node.User() + "@" + proxy.Addr(), "--identity", f.node.KeyFile()}
}

// toldOfTheEnd waits for the events that end the IDE's session, and checks the reason
// in the debug console.
func (s *server) toldOfTheEnd(t *testing.T, c *dapclient.Client, why string) {
	t.Helper()
	if _, err := c.WaitEvent(short(t), "terminated", nil); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(why).MatchString(c.Output()) {
		t.Errorf("the debug console does not match /%s/:\n%s", why, c.Output())
	}
}
