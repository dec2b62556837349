package bridge

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// JSON-RPC clients open the files that an answer names themselves. So files that the
// host lacks are copied to a directory before the answer is relayed, and the answer
// names the copies.

// Bounds on the files that are copied for one answer and for one session, and on how
// long an answer waits for them.
const (
	maxKept        = 64
	maxSessionKept = 4096
	keepTimeout    = 5 * time.Second
)

// sourceKeeper copies the files that the host lacks in a JSON-RPC session. Only
// relayNode's goroutine uses it.
type sourceKeeper struct {
	sources SourceFiles
	files   *pathmap.MissingFiles
	checked time.Time
	paths   map[sourceFile]string // of the copies; "" if the copy failed
	wanted  []sourceFile          // files of the current answer to copy
}

// newSourceKeeper returns nil if s is nil or has no directory for copies.
func newSourceKeeper(s SourceFiles) *sourceKeeper {
	if s == nil || s.KeepDir() == "" {
		return nil
	}
	k := &sourceKeeper{sources: s, checked: time.Now(), paths: map[sourceFile]string{}}
	k.files = &pathmap.MissingFiles{Find: k.findPlace}
	return k
}

// findPlace is the Find function of [pathmap.MissingFiles].
func (k *sourceKeeper) findPlace(host, node string) pathmap.Place {
	f := sourceFile{host, node}
	if k.sources.IsOnHost(host) {
		return pathmap.Place{}
	}
	path, ok := k.paths[f]
	if !ok && len(k.wanted) < maxKept && len(k.paths) < maxSessionKept {
		k.wanted = append(k.wanted, f)
	}
	return pathmap.Place{Path: path}
}

// keepWanted copies the wanted files and reports whether any copy succeeded.
func (k *sourceKeeper) keepWanted(ctx context.Context) bool {
	if k == nil || len(k.wanted) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	paths := make([]string, len(k.wanted))
	var all sync.WaitGroup
	for i, f := range k.wanted {
		all.Go(func() { paths[i], _ = k.sources.Keep(ctx, f.host, f.node) })
	}
	all.Wait()
	copied := false
	for i, f := range k.wanted {
		k.paths[f] = paths[i]
		copied = copied || paths[i] != ""
	}
	k.wanted = nil
	k.files.Forget()
	return copied
}

// refresh periodically forgets which files the host lacks and which copies failed.
func (k *sourceKeeper) refresh() {
	if k == nil || time.Since(k.checked) < recheck {
		return
	}
	k.checked = time.Now()
	for f, path := range k.paths {
		if path == "" {
			delete(k.paths, f)
		}
	}
	k.files.Forget()
}

// rewriter returns the rewriter for a session's messages. The client may name a copy
// made in this session or in another one.
func (k *sourceKeeper) rewriter(m *pathmap.Map) (*pathmap.Rewriter, error) {
	if k == nil {
		return &pathmap.Rewriter{Map: m}, nil
	}
	names, err := pathmap.New(
		pathmap.Rule{Host: filepath.Join(k.sources.KeepDir(), keptAbsolute), Node: "/", Scope: pathmap.OnlyToNode},
		pathmap.Rule{Host: filepath.Join(k.sources.KeepDir(), keptRelative), Node: ".", Scope: pathmap.OnlyToNode},
	)
	if err != nil {
		return nil, err
	}
	return &pathmap.Rewriter{Map: names.Over(m), Missing: k.files}, nil
}

// The directories in KeepDir for absolute paths, and for the relative ones that
// -trimpath leaves.
const (
	keptAbsolute = "root"
	keptRelative = "trimpath"
)

// KeepPath returns the path of a copy below KeepDir, with slashes.
func KeepPath(node string) string {
	if len(node) > 0 && node[0] == '/' {
		return keptAbsolute + node
	}
	return keptRelative + "/" + node
}
