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

// TestKept finds former builds by their SHA-256, the last few of them, and none
// that was changed since.
func TestKept(t *testing.T) {
	testenv.SkipOn(t, "windows", "needs sh")
	var said bytes.Buffer
	b, dir := newBuilder(t, &said), newWorkspace(t, "example.com/d", "")
	var sums []string
	for i := range 8 {
		b.Command = fmt.Sprintf(`CGO_ENABLED=0 go build -o "$OUT" ./cmd/d && echo %d >>"$OUT"`, i)
		built, err := b.Build(t.Context(), newDebugRecipe(t), dir)
		if err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		sums = append(sums, built.SHA256)
		if i > 0 {
			checkKept(t, b.OpenKept(sums[0]), true) // which makes it stay
		}
	}
	for i, want := range []bool{true, false, false, true, true, true, true, true} {
		checkKept(t, b.OpenKept(sums[i]), want)
	}
	for _, name := range []string{"", "x", "../" + sums[0], sums[0] + "/."} {
		checkKept(t, b.OpenKept(name), false)
	}
	kept := filepath.Join(b.Dir, "kept")
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is open to others: %v, %v", info, err)
	}
	path := filepath.Join(kept, sums[7])
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkKept(t, b.OpenKept(sums[7]), false)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a file that was changed stays: %v", err)
	}
}

func checkKept(t *testing.T, f *os.File, want bool) {
	t.Helper()
	if (f != nil) != want {
		t.Errorf("is kept: %v, want %v", f != nil, want)
	}
	if f != nil {
		if data, err := io.ReadAll(f); err != nil || len(data) == 0 {
			t.Errorf("%d bytes, %v: it is to be read from its start", len(data), err)
		}
		f.Close()
	}
}
