//go:build linux

package supervisor_test

import (
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestMachine describes this machine through a real agent.
func TestMachine(t *testing.T) {
	a := startSupervisor(t, startBusy(t), config{})
	m, err := a.client.Machine(shortContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if m.Kernel == "" {
		t.Error("no kernel")
	}
	if !filepath.IsAbs(m.Dir) || m.Free <= 0 {
		t.Errorf("%d bytes are free in %q", m.Free, m.Dir)
	}
	testenv.Equal(t, "NoTracing", m.NoTracing, "")
	testenv.Equal(t, "Frozen", m.Frozen, false)
}
