package link

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Optimisation returns how the target's packages were compiled.
func (c *Client) Optimisation(ctx context.Context) (o exe.Optimisation, err error) {
	return o, c.call(ctx, api.MethodOptimisation, nil, &o)
}

// Origin returns how the target's executable was built and installed, according to the
// node, which is not trusted.
func (c *Client) Origin(ctx context.Context) (o exe.Origin, err error) {
	return o, c.call(ctx, api.MethodOrigin, nil, &o)
}

// Fingerprint returns the fingerprint of the target's executable.
func (c *Client) Fingerprint(ctx context.Context) (p exe.Fingerprint, err error) {
	return p, c.call(ctx, api.MethodFingerprint, nil, &p)
}

// Blocks returns hashes of a part of the target's executable, see [exe.File.Blocks].
func (c *Client) Blocks(ctx context.Context, r exe.Range) (hashes []byte, err error) {
	return hashes, c.call(ctx, api.MethodBlocks, r, &hashes)
}

// Content returns a part of the target's executable, see [exe.File.Content].
func (c *Client) Content(ctx context.Context, r exe.Range) (content []byte, err error) {
	return content, c.call(ctx, api.MethodContent, r, &content)
}

// Shapes returns hashes of the target's functions, see [exe.File.Shapes].
func (c *Client) Shapes(ctx context.Context) (hashes []byte, err error) {
	return hashes, c.call(ctx, api.MethodShapes, nil, &hashes)
}

// Function returns one of the target's functions.
func (c *Client) Function(ctx context.Context, index uint64) (f exe.Function, err error) {
	return f, c.call(ctx, api.MethodFunction, api.FunctionParams{Index: index}, &f)
}

// Words returns four bytes of the target's code at each offset, see [exe.File.Words].
func (c *Client) Words(ctx context.Context, offsets []uint64) (words []uint32, err error) {
	return words, c.call(ctx, api.MethodWords, offsets, &words)
}

// Strings returns the target's strings at these addresses, see [exe.File.Strings].
func (c *Client) Strings(ctx context.Context, addrs []uint64) (texts []exe.Text, err error) {
	return texts, c.call(ctx, api.MethodStrings, addrs, &texts)
}
