package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// agentDirs are the directories for the agent on the node.
const agentDirs = "/var/lib/minikube/dapbridge /var/lib/dapbridge"

// TestUploadMessages makes the upload of the agent fail in each way, and checks that
// nothing of it remains on the node.
func TestUploadMessages(t *testing.T) {
	f := setupAll(t)
	ps := append([]string{"ps"}, f.nodeArgs()...)
	for _, tt := range []struct {
		name, mount string // options of a new file system where the agent would be
		uname       string // what the node says it is; "" for the truth
		want        failure
	}{
		{"no exec", "noexec", "", failure{3, "programs cannot be run from there", "noexec mounts"}},
		{"read-only", "ro", "", failure{3, "Read-only file system", "free space"}},
		{"full", "size=4m", "", failure{3, "is full", "df -h /var/lib"}},
		{"another architecture", "size=100m", "Linux s390x", failure{3, `printed "Linux s390x"`, "linux/amd64 and linux/arm64"}},
		{"another system", "size=100m", "FreeBSD amd64", failure{3, `printed "FreeBSD amd64"`, "linux/amd64 and linux/arm64"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.mountAgentDirs(t, tt.mount)
			if tt.uname != "" {
				f.says(t, "uname", tt.uname)
			}
			f.runFailing(t, tt.want, ps...)
			left, err := f.node.Exec(t.Context(), "sh", "-c", "find "+agentDirs+" -type f")
			if err != nil || len(left) > 0 {
				t.Errorf("still on the node: %s (%v)", left, err)
			}
		})
	}
	checkLists(t, f.command(t.Context(), userUID, ps...))
}

// mountAgentDirs mounts an empty file system on each directory for the agent until the
// test ends.
func (f *fixture) mountAgentDirs(t *testing.T, options string) {
	t.Helper()
	t.Cleanup(func() {
		f.node.Exec(context.WithoutCancel(t.Context()), "sh", "-c", "for d in "+agentDirs+"; do umount $d; done")
	})
	f.root(t, "for d in "+agentDirs+"; do mkdir -p $d; mount -t tmpfs -o mode=700,"+options+" tmpfs $d; done")
}

// says replaces a command on the node, until the test ends, by one that prints a line.
func (f *fixture) says(t *testing.T, command, line string) {
	t.Helper()
	path := filepath.Join(f.node.RootFS(), "usr/local/bin", command) // first in the search path
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+line+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

// TestAgentOfAnotherVersion starts an agent with another protocol version: this program,
// built with another number.
func TestAgentOfAnotherVersion(t *testing.T) {
	f := setupAll(t)
	source, err := filepath.Abs("../internal/api/link.go")
	if err != nil {
		t.Fatal(err)
	}
	before := testenv.ReadFile(t, source)
	other := strings.Replace(before, "const Protocol = 1\n", "const Protocol = 2\n", 1)
	if other == before {
		t.Fatal("the protocol version is not where this test expects it")
	}
	dir := t.TempDir()
	overlay := filepath.Join(dir, "overlay.json")
	for path, text := range map[string]string{
		filepath.Join(dir, "link.go"): other,
		overlay:                       `{"Replace":{"` + source + `":"` + filepath.Join(dir, "link.go") + `"}}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(f.dir, "dapbridge-of-another-version")
	build := exec.Command("go", "build", "-trimpath", "-overlay", overlay, "-ldflags", "-s -w", "-o", program, "../cmd/dapbridge")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f.runFailing(t, failure{3, "the agent speaks protocol 2, this program 1", "reinstall this release"}, append([]string{"ps", "--agent", program}, f.nodeArgs()...)...)
	f.waitDeserted(t, 5*time.Second)
}
