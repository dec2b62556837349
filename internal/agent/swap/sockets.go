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

// callTimeout is how long one call may take.
const callTimeout = 2 * time.Second

// isCRI reports whether a socket has the name that a container runtime's for
// CRI has, wherever it stands (kubeadm, app/constants, CRISocketContainerd and
// its like). The others speak protocols of their own and would log a stranger.
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

// kubeletHealth is where a kubelet says whether it is well, unless its
// configuration has another port or none (KubeletConfiguration, healthzPort).
const (
	kubeletHealth     = "http://127.0.0.1:10248/healthz"
	kubeletHealthPort = 10248
)

// served returns where a process answers those who ask whether it serves: the
// sockets of a container runtime, and a kubelet's address. A runtime's
// configuration may put them anywhere: what it listens on counts. One that a
// debugger may have halted is taken to answer.
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

// answerWait is for how long a process that was halted until now may not answer.
const healthTimeout = 3 * time.Second

// servedSoon is served of a process that was halted until now: it asks again until
// so many answer, or answerWait is over.
func waitHealthSockets(ctx context.Context, p api.Process, most int) ([]string, error) {
	for deadline := time.Now().Add(healthTimeout); ; time.Sleep(pollPause) {
		now, err := findHealthSockets(ctx, p, false)
		if err != nil || len(now) >= most || time.Now().After(deadline) {
			return now, err
		}
	}
}

// answersAs is answers of that process: on a port of TCP anybody may have answered.
func probeProcess(ctx context.Context, pid int, at string) error {
	if at == kubeletHealth {
		if ours, err := procfs.IsListening(pid, kubeletHealthPort); err != nil || !ours {
			return errors.Join(err, fmt.Errorf("pid %d does not listen on port %d", pid, kubeletHealthPort))
		}
	}
	return probe(ctx, at)
}

// answers returns nil if somebody answers there as one who serves does.
func probe(ctx context.Context, at string) error {
	switch {
	case at == kubeletHealth:
		return probeHTTP(ctx, &http.Transport{}, at)
	case filepath.Base(at) == dockerSocket:
		return probeHTTP(ctx, &http.Transport{DialContext: dialSocket(at)}, "http://localhost/_ping")
	}
	return probeCRI(ctx, at)
}

// httpOK returns nil if a request of nothing but the URL is answered by 200.
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
		return fmt.Errorf("it answers with HTTP status %d", resp.StatusCode)
	}
	return nil
}

// dialSocket connects with a unix socket, whatever address is asked for.
func dialSocket(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

// criVersion returns nil if somebody at the socket answers the CRI's Version
// call: a unary gRPC call, which is an HTTP/2 request with an empty message
// (gRPC over HTTP2, "Requests"). The library for it is larger than this agent
// needs.
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
	emptyMessage := bytes.NewReader(make([]byte, 5)) // not compressed, of length 0
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
		status = resp.Header.Get("Grpc-Status") // an answer without a message
	}
	if resp.StatusCode != http.StatusOK || status != "0" {
		return fmt.Errorf("it answers with HTTP status %d, gRPC status %q", resp.StatusCode, status)
	}
	return nil
}
