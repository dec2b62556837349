package target

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// build builds a program of testdata for Linux and returns its path. Arguments
// with a capital are environment variables, others go to go build.
func build(t testing.TB, program string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), program)
	cmd := exec.Command("go", "build", "-o", out)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	for _, arg := range args {
		if arg[0] >= 'A' && arg[0] <= 'Z' {
			cmd.Env = append(cmd.Env, arg)
		} else {
			cmd.Args = append(cmd.Args, arg)
		}
	}
	cmd.Args = append(cmd.Args, "./testdata/"+program)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
	return out
}

// start runs a sleeper until the test's end; it ends as well when the test is
// killed, since its input does.
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

// copyOf puts a copy of a file under another name.
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
