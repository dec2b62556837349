package sshconn_test

import (
	"io"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
)

// runWithDelays runs f with several one-way delays of the network.
func runWithDelays(b *testing.B, f func(b *testing.B, cfg sshconn.Config)) {
	s := startSSHD(b, sshdOptions{user: "docker", sudoers: sudoAll})
	for _, delay := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			cfg := s.config()
			if delay > 0 {
				p := startProxy(b, s.addr)
				p.delay = delay
				cfg.Node.Addrs = []string{p.addr}
				cfg.KnownHosts = []string{p.knownHosts(b, s)}
			}
			f(b, cfg)
		})
	}
}

func BenchmarkDial(b *testing.B) {
	needsNamespaces(b)
	runWithDelays(b, func(b *testing.B, cfg sshconn.Config) {
		for b.Loop() {
			c, err := sshconn.Dial(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_ = c.Close()
			b.StartTimer()
		}
	})
}

// BenchmarkStartAgent measures the time from the call to the agent's first line, for a
// node that has the agent.
func BenchmarkStartAgent(b *testing.B) {
	needsNamespaces(b)
	agent := standIn(b, "")
	runWithDelays(b, func(b *testing.B, cfg sshconn.Config) {
		c := dial(b, cfg)
		startAgent(b, c, agent, remote.UploadOptions{})
		for b.Loop() {
			cmd, err := remote.StartAgent(b.Context(), c, agent, remote.UploadOptions{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			cmd.Close()
			b.StartTimer()
		}
	})
}

// BenchmarkRoundTrip sends a small message to the agent and back, through sudo.
func BenchmarkRoundTrip(b *testing.B) {
	needsNamespaces(b)
	agent := standIn(b, "")
	runWithDelays(b, func(b *testing.B, cfg sshconn.Config) {
		cmd, err := remote.StartAgent(b.Context(), dial(b, cfg), agent, remote.UploadOptions{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 200)
		for n := byte(0); n != '\n'; { // the hello
			if _, err := io.ReadFull(cmd.Stdout, buf[:1]); err != nil {
				b.Fatal(err)
			}
			n = buf[0]
		}
		for b.Loop() {
			if _, err := cmd.Stdin.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(cmd.Stdout, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
