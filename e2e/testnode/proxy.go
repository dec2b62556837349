//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

type proxyOptions struct {
	target, listen, control string
	delay                   time.Duration
	rate                    int
}

func newProxy(s streams, w *nodeFlags) *cobra.Command {
	var o proxyOptions
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Simulate a slow, limited, silent or broken link to a node's SSH port",
		Long: `Proxy relays connections to a node's SSH port and prints the address it listens on.
It ends when it is interrupted or, without --control, when its input ends. It reads
commands from its input and from connections to the unix socket of --control, one a
line, and answers each with "ok" or "error: ...":

  delay 20ms      delay each direction; 0 for no delay
  rate 1000000    bytes per second in each direction; 0 for no limit
  stall, resume   hold everything back; nothing is lost
  cut             reset all existing connections
  cutnew on|off   reset new connections at once
  quit            end the proxy`,
		Example: `  testnode proxy --delay 20ms
  testnode proxy --control /tmp/link.sock </dev/null &
  echo stall | nc -U /tmp/link.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProxy(cmd.Context(), s, *w, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.target, "target", "", "host:port to relay to (default: the node's SSH port)")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback host:port to listen on")
	flags.StringVar(&o.control, "control", "", "unix socket to read commands from")
	flags.DurationVar(&o.delay, "delay", 0, "delay in each direction")
	flags.IntVar(&o.rate, "rate", 0, "bytes per second in each direction, 0 for no limit")
	return cmd
}

func runProxy(ctx context.Context, s streams, w nodeFlags, o proxyOptions) error {
	if o.target == "" {
		n, err := testbed.FindIn(w.state, w.name)
		if err != nil {
			return err
		}
		o.target = n.SSHAddr()
	}
	p, err := testbed.NewProxyAt(o.listen, o.target)
	if err != nil {
		return err
	}
	defer p.Close()
	p.Delay(o.delay)
	p.Rate(o.rate)
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	if o.control != "" {
		stop, err := serveControl(o.control, p, quit)
		if err != nil {
			return err
		}
		defer stop()
	}
	if _, err := fmt.Fprintf(s.out, "%s -> %s\n", p.Addr(), o.target); err != nil {
		return err
	}
	// Reading the input cannot be interrupted: this goroutine ends with the process.
	go func() {
		serveCommands(s.in, s.out, p, quit)
		if o.control == "" {
			quit()
		}
	}()
	<-ctx.Done()
	return nil
}

// serveControl serves commands on a unix socket, which only this user can connect to,
// until stop is called.
func serveControl(path string, p *testbed.Proxy, quit func()) (stop func(), err error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serveCommands(c, c, p, quit)
			}()
		}
	}()
	return func() { l.Close() }, nil
}

// serveCommands runs the commands in r, one a line, and writes the answers to w.
func serveCommands(r io.Reader, w io.Writer, p *testbed.Proxy, quit func()) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		if words[0] == "quit" {
			quit()
			return
		}
		answer := "ok"
		if err := runCommand(p, words); err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Fprintln(w, answer)
	}
}

var errCommand = errors.New("want delay D, rate N, stall, resume, cut, cutnew on|off or quit")

// runCommand runs one command, given as its words.
func runCommand(p *testbed.Proxy, words []string) error {
	plain := map[string]func(){
		"stall": p.Stall, "resume": p.Resume, "cut": p.Cut,
		"cutnew on": func() { p.CutNew(true) }, "cutnew off": func() { p.CutNew(false) },
	}
	if act, ok := plain[strings.Join(words, " ")]; ok {
		act()
		return nil
	}
	if len(words) != 2 {
		return errCommand
	}
	switch words[0] {
	case "delay":
		if words[1] == "0" {
			words[1] = "0s"
		}
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		p.Delay(d)
	case "rate":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		p.Rate(n)
	default:
		return errCommand
	}
	return nil
}
