package sshconn_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/host/sshconn"
)

// A container whose own address does not answer is reached through the port that its
// engine forwards. If there is none, the error has the engine's message.
func TestForwardedPort(t *testing.T) {
	s := startSSHD(t, sshdOptions{})
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	engine := filepath.Join(t.TempDir(), "docker")
	cfg := s.config()
	cfg.Node.Addrs = []string{closedAddr(t)}
	cfg.Node.Container = &node.Container{Engine: engine, Name: "minikube", Host: host}
	if sshconn.IsListening(cfg.Node) {
		t.Error("listening, though there is no engine")
	}
	writeProgram(t, engine, "echo "+port)
	if !sshconn.IsListening(cfg.Node) {
		t.Error("not listening at the forwarded port")
	}
	dial(t, cfg)
	writeProgram(t, engine, "echo no such container >&2; exit 1")
	checkContains(t, checkRefused(t, cfg, diag.NodeUnreachable).Summary, "no such container", "connection refused")
}

func writeProgram(t *testing.T, path, script string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// closedAddr returns an address at which nothing listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
