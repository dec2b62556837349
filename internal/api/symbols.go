package api

// Methods for the debug files that the agent stores beside itself. They hold the debug
// sections of targets' twins, and are uploaded by a command of its own; see
// [SymbolsArgs].
const (
	MethodHasSymbols    = "hasSymbols"    // SymbolsParams -> bool
	MethodRemoveSymbols = "removeSymbols" // removes all files -> RemovedSymbols
)

// SymbolsParams names a debug file by its SHA-256, in hex.
type SymbolsParams struct {
	Hash string `json:"hash"`
}

// RemovedSymbols says what was removed.
type RemovedSymbols struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Symbols names the debug file for a stripped target, and the process for which it was
// proved to be right. It is not used for another process with the same name.
type Symbols struct {
	Hash       string `json:"hash"`
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"`
	BuildID    string `json:"buildID"` // a process can replace its program (execve)
}

// FunctionTable says what was found in the function table of a stripped target.
type FunctionTable struct {
	Functions int `json:"functions"`
	// NoGoroutines says why goroutines cannot be listed, "" if they can.
	NoGoroutines string `json:"noGoroutines,omitempty"`
}
