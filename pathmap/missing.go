package pathmap

import "sync"

// Place is where a client finds a source file that the host lacks. The zero
// value means that the host has it.
type Place struct {
	Reference int    // for a client of DAP: the Source's sourceReference
	Path      string // for one of JSON-RPC: another file of the host
}

// Absent knows which source files the host lacks. What Find has said of a file
// is remembered until Forget, for 16,384 files at the most, so that a message
// whose files are known costs a look into a table. It is safe for concurrent
// use.
type MissingFiles struct {
	// Find says where the client finds the file that is host here and node in
	// the target's binary; both are the same if no rule maps it.
	Find func(host, node string) Place

	mu    sync.Mutex
	known map[string]Place // by the node's path
}

const maxKnown = 1 << 14

// Forget makes Find be asked again.
func (a *MissingFiles) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.known)
}

// in returns the place of a file that stands in a member with role r: where a
// client looks for it.
func (a *MissingFiles) findFor(r role, host, node []byte) Place {
	if r != sourceFile && r != rpcFile {
		return Place{}
	}
	return a.find(host, node)
}

// recall returns what is remembered of the place of a file.
func (a *MissingFiles) recall(node []byte) (p Place, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, known = a.known[string(node)]
	return p, known
}

func (a *MissingFiles) find(host, node []byte) Place {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.known[string(node)]; ok {
		return p
	}
	if a.known == nil {
		a.known = map[string]Place{}
	}
	if len(a.known) >= maxKnown {
		clear(a.known)
	}
	p := a.Find(string(host), string(node))
	a.known[string(node)] = p
	return p
}
