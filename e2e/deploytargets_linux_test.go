package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/e2e/internal/testbed"
)

// TestDeployLibraries deploys a build that needs a later C library than the node's.
// It is refused before the node takes it: containerd is not even restarted.
func TestDeployLibraries(t *testing.T) {
	f := setup(t)
	f.use(t, testbed.Make)
	f.restore(t)
	before, pid := f.standing(t), f.containerd(t)
	text, err := os.ReadFile(filepath.Join(f.node.RootFS(), containerdPath)) // which make has linked dynamically
	if err != nil {
		t.Fatal(err)
	}
	later := filepath.Join(f.dir, "later")
	if err := os.WriteFile(later, bytes.ReplaceAll(text, []byte("GLIBC_2.34"), []byte("GLIBC_2.99")), 0o755); err != nil {
		t.Fatal(err)
	}
	failed(t, f.deploying(t, "--build=cp "+later+" $OUT"), mistake{5, "lacks GLIBC_2.99 of libc.so.6: /lib/x86_64-linux-gnu/libc.so.6 has at most GLIBC_2.", "CGO_ENABLED=0"})
	if now := f.containerd(t); now != pid {
		t.Errorf("containerd was pid %d and is %d", pid, now)
	}
	f.agentLeaves(t)
	if after := f.standing(t); after != before {
		t.Errorf("after:\n%s\nbefore:\n%s", after, before)
	}
}
