package filesync

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRepair takes a watch away, as a move at the wrong moment does, and wants
// the next move to bring it back.
func TestRepair(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Watch(WatchConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if b, err := w.Next(ctx); err != nil || b.FullScan == "" {
		t.Fatalf("%+v, %v", b, err)
	}
	if err := w.notify.Remove(filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "c"), filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	for why := ""; !strings.Contains(why, "moved"); {
		b, err := w.Next(ctx)
		if err != nil {
			t.Fatal("the watch is not missed")
		}
		why = b.FullScan
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "b", "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := w.Next(ctx); err != nil || len(b.Paths) != 1 || b.Paths[0] != "a/b/f" {
		t.Errorf("%+v, %v", b, err)
	}
}
