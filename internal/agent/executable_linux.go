package agent

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/target"
)

// inspect calls fn with the executable that the target runs.
func inspect[T any](ctx context.Context, s *supervisor, fn func(*target.File) (T, error)) (T, error) {
	var none T
	p, err := target.Find(ctx, s.cfg.Selector)
	if err != nil {
		return none, err
	}
	return target.InspectExe(p.PID, fn)
}

func (s *supervisor) origin(ctx context.Context) (*target.Origin, error) {
	return inspect(ctx, s, (*target.File).Origin)
}

func (s *supervisor) fingerprint(ctx context.Context) (*target.Fingerprint, error) {
	return inspect(ctx, s, (*target.File).Fingerprint)
}

func (s *supervisor) optimisation(ctx context.Context) (target.Optimisation, error) {
	t, err := s.target(ctx)
	if err != nil {
		return target.Optimisation{}, err
	}
	return target.InspectExe(t.PID, (*target.File).Optimisation)
}

func (s *supervisor) shapes(ctx context.Context) ([]byte, error) {
	return inspect(ctx, s, (*target.File).Shapes)
}

func (s *supervisor) blocks(ctx context.Context, r target.Range) ([]byte, error) {
	hashes, err := inspect(ctx, s, func(x *target.File) ([]byte, error) { return x.Blocks(r) })
	return hashes, RPCError(err)
}

func (s *supervisor) function(ctx context.Context, p FunctionParams) (target.Function, error) {
	f, err := inspect(ctx, s, func(x *target.File) (target.Function, error) { return x.Function(p.Index) })
	return f, RPCError(err)
}

func (s *supervisor) words(ctx context.Context, offsets []uint64) ([]uint32, error) {
	words, err := inspect(ctx, s, func(x *target.File) ([]uint32, error) { return x.Words(offsets) })
	return words, RPCError(err)
}

func (s *supervisor) strings(ctx context.Context, addrs []uint64) ([]target.Text, error) {
	texts, err := inspect(ctx, s, func(x *target.File) ([]target.Text, error) { return x.Strings(addrs) })
	return texts, RPCError(err)
}
