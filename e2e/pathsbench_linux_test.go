package e2e

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/host/source"
)

// BenchmarkPaths works out the map of containerd's source: its binary is read,
// the host looked at, the go command asked. It is what a session's begin costs
// more, less the way over the link.
func BenchmarkPaths(b *testing.B) {
	f := setup(b)
	exe := filepath.Join(f.node.RootFS(), "usr/bin/containerd")
	c := source.Config{Root: f.source, Log: slog.New(slog.DiscardHandler)}
	for b.Loop() {
		p, _, err := source.ExplainExecutable(b.Context(), c, exe, "", f.source)
		if err != nil || p.OnHost < 3000 {
			b.Fatalf("%d of %d files, %v", p.OnHost, p.Files, err)
		}
	}
}
