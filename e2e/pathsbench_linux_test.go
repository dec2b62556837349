package e2e

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/host/source"
)

// BenchmarkPaths measures the inference of the path map for containerd: it reads the
// binary, searches the host and runs the go command. The start of a session takes this
// much longer, apart from the transfer over the link.
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
