//go:build linux

package swap

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestHealthSockets checks a process that listens as dockerd does: it serves only if
// it answers /_ping with 200, or if it is being debugged, when it cannot be asked.
func TestHealthSockets(t *testing.T) {
	dir := t.TempDir()
	var well atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			http.Error(w, "starting", http.StatusServiceUnavailable)
		}
	})
	socket := filepath.Join(dir, dockerSocket)
	for _, name := range []string{dockerSocket, "other.sock"} {
		ln, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: mux}
		go server.Serve(ln)
		defer server.Close()
	}
	own := api.Process{PID: os.Getpid(), Exe: "/usr/bin/dockerd"}
	checkSockets := func(debugged bool, want ...string) {
		t.Helper()
		got, err := findHealthSockets(t.Context(), own, debugged)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("sockets %q, %v, want %q", got, err, want)
		}
	}
	checkSockets(false)
	checkSockets(true, socket)
	// A socket that was assumed to answer does not, or answers a little later.
	if got, err := waitHealthSockets(t.Context(), own, 1); err != nil || len(got) != 0 {
		t.Errorf("it never answers: %q, %v", got, err)
	}
	time.AfterFunc(2*pollPause, func() { well.Store(true) })
	if got, err := waitHealthSockets(t.Context(), own, 1); err != nil || len(got) != 1 {
		t.Errorf("it answers in a while: %q, %v", got, err)
	}
	checkSockets(false, socket)
}

// TestProbeProcess has another process answer on kubelet's port.
func TestProbeProcess(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:10248")
	if err != nil {
		testenv.Skipf(t, "this machine has a kubelet: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go server.Serve(ln)
	defer server.Close()
	for pid, want := range map[int]bool{os.Getpid(): true, os.Getppid(): false} {
		got, err := findHealthSockets(t.Context(), api.Process{PID: pid, Exe: "/usr/bin/kubelet"}, false)
		if err != nil || (len(got) == 1) != want {
			t.Errorf("pid %d serves at %q (%v), and pid %d listens", pid, got, err, os.Getpid())
		}
	}
}
