package api

// Methods for the debug sections of targets' twins, which the agent keeps
// beside itself. They come through a command of their own: SymbolsArgs.
const (
	MethodHasSymbols    = "hasSymbols"    // SymbolsParams -> bool
	MethodRemoveSymbols = "removeSymbols" // removes all -> RemovedSymbols
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

// Symbols says with which debug file a stripped target is to be debugged, and
// for which process that was proved to be right. Another process of the same
// name is not debugged with it.
type Symbols struct {
	Hash       string `json:"hash"`
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"`
	BuildID    string `json:"buildID"` // a process can replace its program (execve)
}
