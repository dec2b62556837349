package supervisor

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/agent/procfs"
	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// inspect calls fn with the executable that the target runs.
func inspect[T any](ctx context.Context, s *supervisor, fn func(*exe.File) (T, error)) (T, error) {
	var none T
	p, err := procfs.Find(ctx, s.cfg.Selector)
	if err != nil {
		return none, err
	}
	return procfs.InspectExe(p.PID, fn)
}

func (s *supervisor) origin(ctx context.Context) (*exe.Origin, error) {
	return inspect(ctx, s, (*exe.File).Origin)
}

func (s *supervisor) fingerprint(ctx context.Context) (*exe.Fingerprint, error) {
	return inspect(ctx, s, (*exe.File).Fingerprint)
}

func (s *supervisor) optimisation(ctx context.Context) (exe.Optimisation, error) {
	t, err := s.target(ctx)
	if err != nil {
		return exe.Optimisation{}, err
	}
	return procfs.InspectExe(t.PID, (*exe.File).Optimisation)
}

func (s *supervisor) shapes(ctx context.Context) ([]byte, error) {
	return inspect(ctx, s, (*exe.File).Shapes)
}

func (s *supervisor) blocks(ctx context.Context, r exe.Range) ([]byte, error) {
	hashes, err := inspect(ctx, s, func(x *exe.File) ([]byte, error) { return x.Blocks(r) })
	return hashes, api.RPCError(err)
}

func (s *supervisor) function(ctx context.Context, p api.FunctionParams) (exe.Function, error) {
	f, err := inspect(ctx, s, func(x *exe.File) (exe.Function, error) { return x.Function(p.Index) })
	return f, api.RPCError(err)
}

func (s *supervisor) words(ctx context.Context, offsets []uint64) ([]uint32, error) {
	words, err := inspect(ctx, s, func(x *exe.File) ([]uint32, error) { return x.Words(offsets) })
	return words, api.RPCError(err)
}

func (s *supervisor) strings(ctx context.Context, addrs []uint64) ([]exe.Text, error) {
	texts, err := inspect(ctx, s, func(x *exe.File) ([]exe.Text, error) { return x.Strings(addrs) })
	return texts, api.RPCError(err)
}
