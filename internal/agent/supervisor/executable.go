//go:build linux

package supervisor

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// inspectTarget calls fn with the executable that the target runs.
func inspectTarget[T any](ctx context.Context, s *supervisor, fn func(*exe.File) (T, error)) (T, error) {
	var none T
	p, err := procfs.Find(ctx, s.cfg.Selector)
	if err != nil {
		return none, err
	}
	return procfs.InspectExe(p.PID, fn)
}

func (s *supervisor) readOrigin(ctx context.Context) (*exe.Origin, error) {
	return inspectTarget(ctx, s, (*exe.File).Origin)
}

func (s *supervisor) readFingerprint(ctx context.Context) (*exe.Fingerprint, error) {
	return inspectTarget(ctx, s, (*exe.File).Fingerprint)
}

func (s *supervisor) readOptimisation(ctx context.Context) (exe.Optimisation, error) {
	t, err := s.currentTarget(ctx)
	if err != nil {
		return exe.Optimisation{}, err
	}
	return procfs.InspectExe(t.PID, (*exe.File).Optimisation)
}

func (s *supervisor) readShapes(ctx context.Context) ([]byte, error) {
	return inspectTarget(ctx, s, (*exe.File).Shapes)
}

func (s *supervisor) readBlocks(ctx context.Context, r exe.Range) ([]byte, error) {
	hashes, err := inspectTarget(ctx, s, func(x *exe.File) ([]byte, error) { return x.Blocks(r) })
	return hashes, api.ToRPC(err)
}

func (s *supervisor) readContent(ctx context.Context, r exe.Range) ([]byte, error) {
	content, err := inspectTarget(ctx, s, func(x *exe.File) ([]byte, error) { return x.Content(r) })
	return content, api.ToRPC(err)
}

func (s *supervisor) readFunction(ctx context.Context, p api.FunctionParams) (exe.Function, error) {
	f, err := inspectTarget(ctx, s, func(x *exe.File) (exe.Function, error) { return x.Function(p.Index) })
	return f, api.ToRPC(err)
}

func (s *supervisor) readWords(ctx context.Context, offsets []uint64) ([]uint32, error) {
	words, err := inspectTarget(ctx, s, func(x *exe.File) ([]uint32, error) { return x.Words(offsets) })
	return words, api.ToRPC(err)
}

func (s *supervisor) readStrings(ctx context.Context, addrs []uint64) ([]exe.Text, error) {
	texts, err := inspectTarget(ctx, s, func(x *exe.File) ([]exe.Text, error) { return x.Strings(addrs) })
	return texts, api.ToRPC(err)
}
