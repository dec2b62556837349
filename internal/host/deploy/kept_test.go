package deploy_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestOpenKept opens the most recently used builds by their SHA-256, and none that was
// changed.
func TestOpenKept(t *testing.T) {
	testenv.SkipOn(t, "windows", "needs sh")
	var out bytes.Buffer
	b, dir := newBuilder(t, &out), newWorkspace(t, "example.com/d", "")
	var sums []string
	for i := range 8 {
		b.Command = fmt.Sprintf(`CGO_ENABLED=0 go build -o "$OUT" ./cmd/d && echo %d >>"$OUT"`, i)
		built, err := b.Build(t.Context(), newDebugRecipe(t), dir)
		if err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		sums = append(sums, built.SHA256)
		if i > 0 {
			checkKept(t, b.OpenKept(sums[0]), true) // marks it as used
		}
	}
	for i, want := range []bool{true, false, false, true, true, true, true, true} {
		checkKept(t, b.OpenKept(sums[i]), want)
	}
	for _, name := range []string{"", "x", "../" + sums[0], sums[0] + "/."} {
		checkKept(t, b.OpenKept(name), false)
	}
	kept := filepath.Join(b.Dir, "kept")
	info, err := os.Stat(kept)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o700 {
		t.Errorf("the directory's mode is %v, want 0700", mode)
	}
	path := filepath.Join(kept, sums[7])
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkKept(t, b.OpenKept(sums[7]), false)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a changed file was not removed: %v", err)
	}
}

// checkKept checks whether f was found and is positioned at its start, and closes it.
func checkKept(t *testing.T, f *os.File, want bool) {
	t.Helper()
	if got := f != nil; got != want {
		t.Errorf("kept: %v, want %v", got, want)
	}
	if f == nil {
		return
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Error(err)
	}
	if len(data) == 0 {
		t.Error("nothing can be read, want the file from its start")
	}
}
