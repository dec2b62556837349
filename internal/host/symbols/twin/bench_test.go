package twin

import (
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkBuild builds the twins of two versions of containerd, one after the other. The
// first begins with an empty build cache, as does the plain build of the target, which it
// is compared with. For the second, only what has changed is compiled again.
func BenchmarkBuild(b *testing.B) {
	const program = "github.com/containerd/containerd/v2/cmd/containerd"
	for b.Loop() {
		builder := newBuilder(b)
		builder.Dir = b.TempDir()
		cache := b.TempDir()
		for _, version := range []string{"v2.4.2", "v2.4.1"} {
			gobin := b.TempDir()
			start := time.Now()
			run(b, gobin, []string{"GOBIN=" + gobin, "GOCACHE=" + cache, "CGO_ENABLED=0"},
				"go", "install", "-trimpath", "-ldflags=-s -w", program+"@"+version)
			plain := time.Since(start)
			o := openOriginal(b, filepath.Join(gobin, filepath.Base(program)))
			var last Step
			builder.Progress = func(s Step) {
				if s.Phase == Packages {
					last = s
				}
			}
			file, err := builder.Build(b.Context(), o.recipe(b), gobin, o)
			if err != nil {
				b.Fatal(err)
			}
			b.Logf("%s: go install %.1f s, the twin's build %.1f s, its proof %.2f s, %d of %d packages compiled",
				version, plain.Seconds(), file.Times.Build.Seconds(), file.Times.Proof.Seconds(), last.Done, last.Total)
			b.ReportMetric(file.Times.Build.Seconds()/plain.Seconds(), version+"-ratio")
			b.ReportMetric(1-float64(last.Done)/float64(last.Total), version+"-reused")
		}
	}
}
