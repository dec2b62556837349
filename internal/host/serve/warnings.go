package daemon

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// optimisedNote is what a user should know of a program without -N -l.
const optimisedNote = "this program was built for speed: variables may be missing or stale, and steps may jump between lines; " +
	"a build with -gcflags 'all=-N -l' has neither: dapbridge deploy runs one in its place"

// warnings begins to look at what to expect of the target in a session, and
// returns the function that waits for it. What can't be told is left out.
func (l *Link) warnings(ctx context.Context, t api.Target) func() []string {
	found := make(chan []string, 1)
	l.wg.Go(func() {
		var lines []string
		if w := l.client.Hello().Debugger.Warning(t.Build.GoVersion); w != "" {
			lines = append(lines, w)
		}
		if !t.Build.Stripped { // which says so itself, in every session
			if o, err := l.client.Optimisation(ctx); err == nil && mostlyOptimised(o) {
				lines = append(lines, optimisedNote)
			}
		}
		found <- lines
	})
	return func() []string { return <-found }
}

// mostlyOptimised is true for what go build makes. containerd's own debug build
// leaves its main package optimised, where nobody steps.
func mostlyOptimised(o exe.Optimisation) bool { return 2*o.Optimised > o.Packages }
