package procfs

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// start runs a sleeper until the test ends; it also exits if the test is killed.
func start(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	testenv.NeedsLinux(t, "it needs /proc")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(output).ReadString('\n'); !strings.HasPrefix(line, "ready") {
		t.Fatalf("%v wrote %q: %v", cmd.Args, line, err)
	}
	return cmd.Process.Pid
}

// copyOf copies a file to another name.
func copyOf(t *testing.T, path, name string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(other, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return other
}
