//go:build linux

package supervisor_test

import (
	"path/filepath"
	"testing"
)

// TestMachine looks at this machine through a real agent.
func TestMachine(t *testing.T) {
	a := startSupervisor(t, startBusy(t), config{})
	m, err := a.client.Machine(short(t))
	if err != nil {
		t.Fatal(err)
	}
	if m.Kernel == "" || !filepath.IsAbs(m.Dir) || m.Free <= 0 || m.NoTracing != "" || m.Frozen {
		t.Errorf("%+v", m)
	}
}
