package swap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
)

// callTimeout bounds one health check.
const callTimeout = 2 * time.Second

// isCRI reports whether a path has the name of a container runtime's CRI socket
// (kubeadm, app/constants, CRISocketContainerd and its like). Other sockets speak
// other protocols, and their owners would log a failed request.
func isCRI(path string) bool {
	switch filepath.Base(path) {
	case "containerd.sock", "crio.sock", "cri-dockerd.sock":
		return true
	}
	return false
}

// dockerSocket is the name of the socket on which dockerd answers /_ping.
const dockerSocket = "docker.sock"

// kubelet is the name of kubelet's executable.
const kubelet = "kubelet"

// kubeletHealth is the URL at which a kubelet answers health checks, unless its
// configuration has another port or none (KubeletConfiguration, healthzPort).
const (
	kubeletHealth     = "http://127.0.0.1:10248/healthz"
	kubeletHealthPort = 10248
)

// findHealthSockets returns where a process answers health checks: a container
// runtime's sockets, and a kubelet's address. Since a runtime's configuration may put
// its sockets anywhere, those on which it listens are taken. If debugged is set, a
// debugger may have halted the process, so it is assumed to answer.
func findHealthSockets(ctx context.Context, p api.Process, debugged bool) ([]string, error) {
	names, err := procfs.ListUnixListeners(p.PID)
	if err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(names, func(name string) bool {
		return !filepath.IsAbs(name) || !isCRI(name) && filepath.Base(name) != dockerSocket
	})
	if filepath.Base(p.Exe) == kubelet {
		ours = append(ours, kubeletHealth)
	}
	return slices.DeleteFunc(ours, func(at string) bool { return !debugged && probeProcess(ctx, p.PID, at) != nil }), nil
}

// healthTimeout bounds how long a process that was halted until now may take to
// answer.
const healthTimeout = 3 * time.Second

// waitHealthSockets is findHealthSockets for a process that was halted until now: it
// tries again until want sockets answer, or healthTimeout has passed.
func waitHealthSockets(ctx context.Context, p api.Process, want int) ([]string, error) {
	for deadline := time.Now().Add(healthTimeout); ; time.Sleep(pollPause) {
		now, err := findHealthSockets(ctx, p, false)
		if err != nil || len(now) >= want || time.Now().After(deadline) {
			return now, err
		}
	}
}

// probeProcess is probe for a given process: on a TCP port any process may answer.
func probeProcess(ctx context.Context, pid int, at string) error {
	if at == kubeletHealth {
		if ours, err := procfs.IsListening(pid, kubeletHealthPort); err != nil || !ours {
			return errors.Join(err, fmt.Errorf("pid %d does not listen on port %d", pid, kubeletHealthPort))
		}
	}
	return probe(ctx, at)
}

// probe returns nil if a health check at a socket or URL succeeds.
func probe(ctx context.Context, at string) error {
	switch {
	case at == kubeletHealth:
		return probeHTTP(ctx, &http.Transport{}, at)
	case filepath.Base(at) == dockerSocket:
		return probeHTTP(ctx, &http.Transport{DialContext: dialSocket(at)}, "http://localhost/_ping")
	}
	return probeCRI(ctx, at)
}

// probeHTTP returns nil if a GET of the URL is answered with status 200.
func probeHTTP(ctx context.Context, t *http.Transport, url string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return nil
}

// dialSocket returns a dial function that connects to a unix socket, whatever the
// address.
func dialSocket(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

// probeCRI returns nil if the CRI's Version call succeeds at a socket. It is a unary
// gRPC call, which is an HTTP/2 request with an empty message (gRPC over HTTP2,
// "Requests"); a gRPC library would be large for that.
func probeCRI(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:   &protocols,
		DialContext: dialSocket(socket),
	}
	defer transport.CloseIdleConnections()
	emptyMessage := bytes.NewReader(make([]byte, 5)) // not compressed, length 0
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/runtime.v1.RuntimeService/Version", emptyMessage)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return err
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status") // a response without a message
	}
	if resp.StatusCode != http.StatusOK || status != "0" {
		return fmt.Errorf("HTTP status %d, gRPC status %q", resp.StatusCode, status)
	}
	return nil
}
