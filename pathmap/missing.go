package pathmap

import "sync"

// Place is where a client finds a source file that the host lacks. The zero value means
// that the host has the file.
type Place struct {
	Reference int    // for DAP clients: the sourceReference
	Path      string // for JSON-RPC clients: a copy on the host
}

// MissingFiles knows which source files the host lacks. It caches the results of Find
// until Forget, for at most 16,384 files, so that known files cost only a table lookup.
// It is safe for concurrent use.
type MissingFiles struct {
	// Find returns where the client finds the file with this host path and node path,
	// which are the same if no rule covers it.
	Find func(host, node string) Place

	mu    sync.Mutex
	known map[string]Place // by node path
}

const maxKnown = 1 << 14

// Forget empties the cache.
func (a *MissingFiles) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.known)
}

// findFor returns the place of a file named in a member with role r.
func (a *MissingFiles) findFor(r role, host, node []byte) Place {
	if r != sourceFile && r != rpcFile {
		return Place{}
	}
	return a.find(host, node)
}

// recall returns the cached place of a file.
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
