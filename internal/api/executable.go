package api

// Methods that read the target's executable. With all but the first, its twin can be
// built and compared on the host without transferring the whole executable.
const (
	MethodOptimisation = "optimisation" // -> exe.Optimisation

	MethodOrigin      = "origin"      // -> exe.Origin
	MethodFingerprint = "fingerprint" // -> exe.Fingerprint
	MethodBlocks      = "blocks"      // exe.Range -> hashes
	MethodContent     = "content"     // exe.Range -> bytes
	MethodShapes      = "shapes"      // -> hashes
	MethodFunction    = "function"    // FunctionParams -> exe.Function
	MethodWords       = "words"       // []uint64 -> []uint32
	MethodStrings     = "strings"     // []uint64 -> []exe.Text
)

// FunctionParams names a function by its index in the order of addresses.
type FunctionParams struct {
	Index uint64 `json:"index"`
}
