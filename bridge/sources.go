package bridge

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// SourceFiles gives access to the source files of a session's target. A file has two
// names: node, its path in the target's binary, and host, the path that the session's
// [pathmap.Map] maps it to, or the same path if no rule covers it. The methods are safe
// for concurrent use.
type SourceFiles interface {
	// IsOnHost reports whether the host has the file host now. It must not block on
	// anything but the host's own file system.
	IsOnHost(host string) bool

	// Read returns the text of a file that the host lacks. If the file is being
	// fetched to the host, Read waits for it; otherwise it reads the node's file.
	Read(ctx context.Context, host, node string) ([]byte, error)

	// Keep writes that text to a file below KeepDir, named after node (see
	// [KeepPath]), and returns its path, for clients that open files by themselves.
	Keep(ctx context.Context, host, node string) (path string, err error)

	// KeepDir returns the directory for Keep, or "" if there is none.
	KeepDir() string

	// CheckStale returns a line that says that the host's file is not what the target
	// was built from, and what to do about it, or "" if nothing indicates that.
	CheckStale(ctx context.Context, host, node string) string
}

// The bridge's source references start at firstReference, so that they differ from the
// debugger's, which start at 1. DAP allows 31 bits.
const (
	firstReference = 1 << 30
	maxReferences  = 1 << 16
)

// recheck bounds how long it takes to notice that the host now has a file.
const recheck = 5 * time.Second

// readTimeout bounds how long reading or checking a file may take.
const readTimeout = time.Minute

// missingSources are the files that the host lacks in a DAP session.
type missingSources struct {
	sources SourceFiles
	hostMap *pathmap.Map // without the IDE's own rules
	files   *pathmap.MissingFiles

	mu      sync.Mutex
	checked time.Time
	numbers map[sourceFile]int
	list    []sourceFile // by number
}

// sourceFile is a source file by both of its names.
type sourceFile struct{ host, node string }

// newMissingSources returns nil if the session gives no access to files.
func newMissingSources(sess Session) *missingSources {
	s := sess.Sources()
	if s == nil {
		return nil
	}
	l := &missingSources{sources: s, hostMap: sess.Map(), numbers: map[sourceFile]int{}, checked: time.Now()}
	l.files = &pathmap.MissingFiles{Find: l.findPlace}
	return l
}

// rewriter returns the rewriter for a session's messages.
func (l *missingSources) rewriter(m *pathmap.Map, form pathmap.Client) *pathmap.Rewriter {
	r := &pathmap.Rewriter{Map: m, Client: form}
	if l != nil {
		r.Missing = l.files
	}
	return r
}

// findPlace is the Find function of [pathmap.MissingFiles]. A path from the IDE's own
// substitutePath counts as present: the IDE may see files that this host does not.
func (l *missingSources) findPlace(host, node string) pathmap.Place {
	if own, _ := l.hostMap.ToHost(node); own != host || l.sources.IsOnHost(host) {
		return pathmap.Place{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := sourceFile{host, node}
	n, ok := l.numbers[f]
	if !ok {
		if n = len(l.list); n == maxReferences {
			return pathmap.Place{}
		}
		l.numbers[f] = n
		l.list = append(l.list, f)
	}
	return pathmap.Place{Reference: firstReference + n}
}

// refresh periodically forgets which files the host lacks.
func (l *missingSources) refresh() {
	if l == nil {
		return
	}
	l.mu.Lock()
	due := time.Since(l.checked) > recheck
	if due {
		l.checked = time.Now()
	}
	l.mu.Unlock()
	if due {
		l.files.Forget()
	}
}

// file returns the file that one of the bridge's references stands for.
func (l *missingSources) file(reference int) (sourceFile, bool) {
	if l == nil {
		return sourceFile{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := reference - firstReference
	if n < 0 || n >= len(l.list) {
		return sourceFile{}, false
	}
	return l.list[n], true
}

// handleSource answers a request for the text of a file that the host lacks (DAP,
// Source Request) once the text has been read. It does nothing and returns false if the
// reference is not the bridge's. The caller holds c.mu; c.up is set.
func (c *dapClient) handleSource(body []byte, env envelope) bool {
	var r struct {
		Arguments struct {
			Source          struct{ SourceReference int }
			SourceReference int
		}
	}
	if json.Unmarshal(body, &r) != nil {
		return false
	}
	l := c.up.missing
	f, ok := l.file(r.Arguments.SourceReference)
	if !ok {
		f, ok = l.file(r.Arguments.Source.SourceReference)
	}
	if ok {
		c.wg.Go(func() {
			ctx, cancel := context.WithTimeout(c.ctx, readTimeout)
			defer cancel()
			text, err := l.sources.Read(ctx, f.host, f.node)
			if err != nil {
				c.out.refuse(env, err)
				return
			}
			c.out.respond(env, map[string]any{"content": string(text)})
		})
	}
	return ok
}
