package bridge

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/pathmap"
)

// Sources knows the source files of a session's target. A file has two names:
// host, what the session's [pathmap.Map] makes of its path, and node, what the
// target's binary calls it; they are the same if no rule maps it. The methods may
// be called by several goroutines at once.
type Sources interface {
	// OnHost reports whether the host has the file host now. It must not wait for
	// anything but the host's own file system.
	IsOnHost(host string) bool

	// Read returns the text of a file that the host lacks. If it is being fetched
	// to the host, Read waits for it; else it returns what the node has, and an
	// error if the node lacks it too.
	Read(ctx context.Context, host, node string) ([]byte, error)

	// Keep puts the same text into a file below the directory KeepDir, by the name
	// node, and returns its path: for clients that open files by themselves.
	Keep(ctx context.Context, host, node string) (path string, err error)

	// Kept is that directory; "" if nothing is kept.
	KeepDir() string

	// Stale says in one line that the host's file is not what the target was built
	// from, and what to do; "" if nothing says so.
	CheckStale(ctx context.Context, host, node string) string
}

// How references to files of the node are told from those that an adapter gives,
// which count from 1, and how many there may be. DAP allows 31 bits.
const (
	firstReference = 1 << 30
	maxReferences  = 1 << 16
)

// recheck is how long the host may have a file before that is noticed.
const recheck = 5 * time.Second

// readTimeout bounds how long a file is waited for.
const readTimeout = time.Minute

// lacking are the files of one DAP session that the host lacks.
type missingSources struct {
	sources Sources
	hostMap *pathmap.Map // the host's, without what the IDE adds
	files   *pathmap.MissingFiles

	mu      sync.Mutex
	checked time.Time
	numbers map[sourceFile]int
	list    []sourceFile // by their number
}

// sourceFile is a source file by both its names.
type sourceFile struct{ host, node string }

// newLacking returns the files that the session's host lacks; nil if it is not to
// be asked.
func newMissingSources(sess Session) *missingSources {
	s := sess.Sources()
	if s == nil {
		return nil
	}
	l := &missingSources{sources: s, hostMap: sess.Map(), numbers: map[sourceFile]int{}, checked: time.Now()}
	l.files = &pathmap.MissingFiles{Find: l.findPlace}
	return l
}

// rewriter returns what rewrites the messages of a session.
func (l *missingSources) rewriter(m *pathmap.Map, form pathmap.Client) *pathmap.Rewriter {
	r := &pathmap.Rewriter{Map: m, Client: form}
	if l != nil {
		r.Missing = l.files
	}
	return r
}

// place implements [pathmap.MissingFiles]. Of where the IDE's own substitutePath leads,
// which this host may not even see, the IDE knows best.
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

// refresh has the host looked at again from time to time.
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

// file returns the file of a reference that place gave.
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

// onSource answers a request for the text of a file that the host lacks (DAP,
// Source Request) as soon as it has come. It reports false, and does nothing, if
// the reference is not the bridge's. The caller has c.mu and an upstream.
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
