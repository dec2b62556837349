package api

// Methods that read the target's executable: all but the first so that its twin
// can be built and compared on the host without the executable travelling.
const (
	MethodOptimisation = "optimisation" // -> target.Optimisation

	MethodOrigin      = "origin"      // -> target.Origin
	MethodFingerprint = "fingerprint" // -> target.Fingerprint
	MethodBlocks      = "blocks"      // target.Range -> hashes
	MethodShapes      = "shapes"      // -> hashes
	MethodFunction    = "function"    // FunctionParams -> target.Function
	MethodWords       = "words"       // []uint64 -> []uint32
	MethodStrings     = "strings"     // []uint64 -> []target.Text
)

// FunctionParams names a function by its place in the order of addresses.
type FunctionParams struct {
	Index uint64 `json:"index"`
}
