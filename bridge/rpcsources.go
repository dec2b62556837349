package bridge

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// Clients of JSON-RPC open the files that answers name, at once and by
// themselves. So what the host lacks is brought to a directory of its own before
// the answer passes, which then names the file there.

// How many files one answer brings and one session, and for how long an answer
// waits for them.
const (
	maxKept        = 64
	maxSessionKept = 4096
	keepTimeout    = 5 * time.Second
)

// kept are the files of one JSON-RPC session that the host lacks. Only the
// goroutine that relays answers uses it.
type sourceKeeper struct {
	sources Sources
	files   *pathmap.MissingFiles
	checked time.Time
	paths   map[sourceFile]string // what has been brought; "" for what could not be
	wanted  []sourceFile          // what the last answer lacks
}

// newKept returns the files that s says are lacking; nil if s keeps none.
func newSourceKeeper(s Sources) *sourceKeeper {
	if s == nil || s.KeepDir() == "" {
		return nil
	}
	k := &sourceKeeper{sources: s, checked: time.Now(), paths: map[sourceFile]string{}}
	k.files = &pathmap.MissingFiles{Find: k.findPlace}
	return k
}

// place implements [pathmap.MissingFiles].
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

// bring brings what is wanted, and reports whether any came.
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
	came := false
	for i, f := range k.wanted {
		k.paths[f] = paths[i]
		came = came || paths[i] != ""
	}
	k.wanted = nil
	k.files.Forget()
	return came
}

// refresh has the host looked at again from time to time, and what could not be
// brought tried again.
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

// rewriter returns what rewrites the messages of a session, whose client may name
// a file that was brought, by this session or another.
func (k *sourceKeeper) rewriter(m *pathmap.Map) (*pathmap.Rewriter, error) {
	if k == nil {
		return &pathmap.Rewriter{Map: m}, nil
	}
	names, err := pathmap.New(
		pathmap.Rule{Host: filepath.Join(k.sources.KeepDir(), keptAbsolute), Node: "/", Way: pathmap.OnlyToNode},
		pathmap.Rule{Host: filepath.Join(k.sources.KeepDir(), keptRelative), Node: ".", Way: pathmap.OnlyToNode},
	)
	if err != nil {
		return nil, err
	}
	return &pathmap.Rewriter{Map: names.Over(m), Missing: k.files}, nil
}

// The directories in Kept for files with full paths, and for those that -trimpath
// leaves.
const (
	keptAbsolute = "root"
	keptRelative = "trimpath"
)

// KeepPath returns where a file of the node's is kept, below the directory KeepDir,
// with slashes.
func KeepPath(node string) string {
	if len(node) > 0 && node[0] == '/' {
		return keptAbsolute + node
	}
	return keptRelative + "/" + node
}
