package agent

import (
	"context"

	"github.com/dapbridge/dapbridge/internal/target"
)

// Methods that read the target's executable: all but the first so that its twin
// can be built and compared on the host without the executable travelling.
const (
	methodOptimisation = "optimisation" // -> target.Optimisation

	methodOrigin      = "origin"      // -> target.Origin
	methodFingerprint = "fingerprint" // -> target.Fingerprint
	methodBlocks      = "blocks"      // target.Range -> hashes
	methodShapes      = "shapes"      // -> hashes
	methodFunction    = "function"    // FunctionParams -> target.Function
	methodWords       = "words"       // []uint64 -> []uint32
	methodStrings     = "strings"     // []uint64 -> []target.Text
)

// FunctionParams names a function by its place in the order of addresses.
type FunctionParams struct {
	Index uint64 `json:"index"`
}

// Optimisation returns how the target's packages were compiled.
func (c *Client) Optimisation(ctx context.Context) (o target.Optimisation, err error) {
	return o, c.call(ctx, methodOptimisation, nil, &o)
}

// Origin says where the target's executable comes from. All of it is the
// node's: not to be trusted.
func (c *Client) Origin(ctx context.Context) (o target.Origin, err error) {
	return o, c.call(ctx, methodOrigin, nil, &o)
}

// Fingerprint returns that of the target's executable.
func (c *Client) Fingerprint(ctx context.Context) (p target.Fingerprint, err error) {
	return p, c.call(ctx, methodFingerprint, nil, &p)
}

// Blocks returns hashes of a part of the target's executable, see
// [target.File.Blocks].
func (c *Client) Blocks(ctx context.Context, r target.Range) (hashes []byte, err error) {
	return hashes, c.call(ctx, methodBlocks, r, &hashes)
}

// Shapes returns hashes of the target's functions, see [target.File.Shapes].
func (c *Client) Shapes(ctx context.Context) (hashes []byte, err error) {
	return hashes, c.call(ctx, methodShapes, nil, &hashes)
}

// Function returns one function of the target's.
func (c *Client) Function(ctx context.Context, index uint64) (f target.Function, err error) {
	return f, c.call(ctx, methodFunction, FunctionParams{index}, &f)
}

// Words returns four bytes of the target's code at each offset, see
// [target.File.Words].
func (c *Client) Words(ctx context.Context, offsets []uint64) (words []uint32, err error) {
	return words, c.call(ctx, methodWords, offsets, &words)
}

// Strings returns the target's strings at these addresses, see
// [target.File.Strings].
func (c *Client) Strings(ctx context.Context, addrs []uint64) (texts []target.Text, err error) {
	return texts, c.call(ctx, methodStrings, addrs, &texts)
}
