//go:build linux

package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// waitReady waits until the node is ready as Up promises, and loads the images.
func (n *Node) waitReady(ctx context.Context, images string) error {
	if err := n.waitCRI(ctx); err != nil {
		return err
	}
	archive, err := os.Open(images)
	if err != nil {
		return err
	}
	defer archive.Close()
	load := []string{"ctr", "--namespace=k8s.io", "images", "import", "--local", "-"}
	if _, err := n.runOnNode(ctx, archive, nil, load); err != nil {
		return err
	}
	if err := n.waitSSH(ctx); err != nil {
		return fmt.Errorf("sshd: %w", err)
	}
	if !n.facts.Kubelet {
		return nil
	}
	if err := n.waitKubelet(ctx); err != nil {
		journal, _ := n.Exec(ctx, "journalctl", "--unit=kubelet", "--lines=20", "--no-pager")
		return fmt.Errorf("kubelet: %w\n%s", err, journal)
	}
	return nil
}

// waitCRI waits until containerd answers CRI calls.
func (n *Node) waitCRI(ctx context.Context) error {
	err := poll(ctx, 30*time.Second, func() error {
		_, err := n.Exec(ctx, "criload", "-timeout=2s", "version", "1")
		return err
	})
	if err != nil && ctx.Err() == nil {
		journal, _ := n.Exec(ctx, "journalctl", "--unit=containerd", "--lines=20", "--no-pager")
		err = fmt.Errorf("%w\n%s", err, journal)
		if strings.Contains(string(journal), "GLIBC_") {
			err = fmt.Errorf("%w\nthis machine's C library is newer than the node's: use the static flavour", err)
		}
	}
	return err
}

// waitSSH waits until the node's sshd sends its banner.
func (n *Node) waitSSH(ctx context.Context) error {
	return poll(ctx, 30*time.Second, func() error {
		dialer := net.Dialer{Timeout: 2 * time.Second}
		conn, err := dialer.DialContext(ctx, "tcp", n.SSHAddr())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		banner, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.HasPrefix(banner, "SSH-2.0-") {
			err = fmt.Errorf("not an SSH server: it sends %q", banner)
		}
		return err
	})
}

// waitKubelet waits until the kubelet is healthy and stays running: one that cannot run
// here also reports to be healthy for a moment before it exits.
func (n *Node) waitKubelet(ctx context.Context) error {
	const stable = 250 * time.Millisecond
	before, since := 0, time.Now()
	return poll(ctx, 60*time.Second, func() error {
		pid, err := n.mainPID(ctx, "kubelet.service")
		if err != nil {
			return err
		}
		if err := n.checkKubelet(ctx); err != nil {
			return err
		}
		if pid != before {
			before, since = pid, time.Now()
		}
		if time.Since(since) < stable {
			return errors.New("it keeps exiting")
		}
		return nil
	})
}

func (n *Node) checkKubelet(ctx context.Context) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(n.IP(), "10248")+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
