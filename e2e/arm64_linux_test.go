package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestARM64Host is a host of another architecture: what make build makes for arm64, under
// an emulator, with the agent for the node beside it. All but the tracing runs
// there, including a complete session.
func TestARM64Host(t *testing.T) {
	f := setupAll(t)
	emulator := testenv.NeedsTool(t, "qemu-aarch64") // Debian's package qemu-user
	dir := filepath.Join(f.dir, "arm64")
	program := filepath.Join(dir, "dapbridge")
	build := exec.Command("make", "-C", "..", "build", "BIN="+dir)
	build.Env = append(os.Environ(), "GOARCH=arm64", "MAKEFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g := *f // with another program
	g.bin, g.under = program, emulator

	out, err := g.command(t.Context(), userUID, "version").Output()
	if err != nil || !strings.Contains(string(out), "linux/arm64") {
		t.Errorf("version: %v\n%s", err, out)
	}
	checkLists(t, g.command(t.Context(), userUID, append([]string{"ps"}, f.nodeArgs()...)...))

	pid := f.containerd(t)
	s := g.serve(t)
	i := s.ide(t)
	defer i.Close()
	pod := haltTarget(t, &g, i.Client)
	s.stop(t)
	f.checkWorks(t, pod)
	if now := f.containerd(t); now != pid {
		t.Errorf("containerd was pid %d and is %d now", pid, now)
	}

	// The agent: its hello, with a target on this machine.
	supervise := exec.Command(emulator, program, "agent", "supervise", "--protocol", "1", "--target", "nosuchd")
	line, err := supervise.Output() // its link is at its end at once
	var hello api.Hello
	first, _, _ := bytes.Cut(line, []byte("\n"))
	if jerr := json.Unmarshal(first, &hello); err != nil || jerr != nil || hello.Arch != "arm64" || hello.TargetError == nil || len(hello.Capabilities) < 100 {
		t.Errorf("the agent: %v, %v: %s", err, jerr, line)
	}
}
