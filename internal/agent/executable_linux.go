package agent

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/target"
)

// inspect calls fn with the executable that the target runs.
func inspect[T any](ctx context.Context, s *supervisor, fn func(*target.Exe) (T, error)) (T, error) {
	var none T
	p, err := target.Find(ctx, s.cfg.Selector)
	if err != nil {
		return none, err
	}
	x, err := target.OpenExe(p.PID)
	if err != nil {
		return none, err
	}
	defer x.Close()
	return fn(x)
}

func (s *supervisor) origin(ctx context.Context) (*target.Origin, error) {
	return inspect(ctx, s, (*target.Exe).Origin)
}

func (s *supervisor) fingerprint(ctx context.Context) (*target.Fingerprint, error) {
	return inspect(ctx, s, (*target.Exe).Fingerprint)
}

func (s *supervisor) shapes(ctx context.Context) ([]byte, error) {
	return inspect(ctx, s, (*target.Exe).Shapes)
}

func (s *supervisor) blocks(ctx context.Context, r target.Range) ([]byte, error) {
	hashes, err := inspect(ctx, s, func(x *target.Exe) ([]byte, error) { return x.Blocks(r) })
	return hashes, RPCError(err)
}

func (s *supervisor) function(ctx context.Context, p FunctionParams) (target.Function, error) {
	f, err := inspect(ctx, s, func(x *target.Exe) (target.Function, error) { return x.Function(p.Index) })
	return f, RPCError(err)
}
