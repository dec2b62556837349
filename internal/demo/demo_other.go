//go:build !linux

package demo

import (
	"context"
	"runtime"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func run(context.Context, Options) error {
	return diag.Errorf(diag.Unsupported, "the demo traces a process on this machine, which works on Linux, not on %s", runtime.GOOS).
		WithHint("run dapbridge serve against a node instead")
}
