package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	for i := range 7 {
		path := filepath.Join(dir, fmt.Sprintf("agent-linux-amd64-%d", i))
		when := time.Now().Add(time.Duration(i%5) * time.Minute)
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pruneAgents(dir)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	for _, want := range []string{"agent-linux-amd64-4", "agent-linux-amd64-3", "agent-linux-amd64-2", "other"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s was removed", want)
		}
	}
	if len(names) != maxCachedAgents+1 {
		t.Errorf("%q are left, want %d agents and the other file", names, maxCachedAgents)
	}
}
