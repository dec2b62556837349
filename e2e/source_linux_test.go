package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestSource gets the source of a target that was built at an earlier commit than the
// user's, as an ordinary user: standard output has its path and nothing else.
func TestSource(t *testing.T) {
	f := setupAll(t)
	there := f.sample(t)
	f.install(t, there, "sourced")
	built := testenv.ReadFile(t, filepath.Join(there, "main.go"))
	testenv.WriteFile(t, filepath.Join(there, "main.go"), built+"\n// later\n")
	hostGit(t, there, "commit", "--quiet", "--all", "--message=second")
	here, to := f.clone(t, there), filepath.Join(f.home, "sourced@v1.0.0")
	for _, state := range []string{"created", "is already there"} {
		cmd := f.command(short(t), userUID, append(append([]string{"source"}, f.nodeArgs()...), "--target", "sourced", "--to", to, here)...)
		var messages strings.Builder
		cmd.Stderr = &messages
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, messages.String())
		}
		testenv.Equal(t, "standard output", string(out), to+"\n")
		if !strings.Contains(messages.String(), "): "+state+"\n") {
			t.Errorf("no %q in\n%s", state, messages.String())
		}
		testenv.Equal(t, "main.go", testenv.ReadFile(t, filepath.Join(to, "main.go")), built)
	}
	testenv.Equal(t, "the user's main.go", testenv.ReadFile(t, filepath.Join(here, "main.go")), built+"\n// later\n")
	if err := os.RemoveAll(to); err != nil {
		t.Error(err)
	}
}
