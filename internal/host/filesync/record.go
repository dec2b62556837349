package filesync

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dapbridge/dapbridge/internal/api/tree"
)

// Record remembers on the host what was copied to one directory of a node, so that
// only this is replaced and removed there. It is a file to which each change appends a
// line, so that it survives a crash.
type Record struct {
	f       *os.File // nil if the record is read-only
	entries map[string]RecordEntry
}

// Copy identifies a record: which directory was copied where.
type Copy struct {
	Dir  string `json:"dir"`  // on the host
	Node string `json:"node"` // the node's name
	To   string `json:"to"`   // the directory on the node
}

// RecordEntry is what was copied to a path.
type RecordEntry struct {
	Sent tree.Entry // on the host
	Now  tree.Entry // on the node afterwards, whose file system may store times less precisely
	// InFlight was being sent when the connection was lost: the node may have it instead
	// of Now. Its kind is Nothing if nothing was.
	InFlight tree.Entry
	// Settled is false for a file that was modified so shortly before it was sent, as
	// Sent or as InFlight, that another write may have left its time unchanged.
	Settled bool
}

// expected returns the entry that should be on the node; onNode is the one that is there.
func (p RecordEntry) expected(onNode tree.Entry) tree.Entry {
	if p.InFlight.Kind != tree.Nothing && onNode.Matches(p.InFlight) {
		return p.InFlight
	}
	return p.Now
}

// isUpToDate reports whether the node, which has onNode, has the host's entry.
func (p RecordEntry) isUpToDate(host, onNode tree.Entry) bool {
	sent, now := p.Sent, p.Now
	if p.InFlight.Kind != tree.Nothing {
		sent, now = p.InFlight, p.InFlight
	}
	return p.Settled && isSameEntry(host, sent) && isSameEntry(onNode, now)
}

func isSameEntry(a, b tree.Entry) bool { return a.Matches(b) && a.Perm == b.Perm }

// clockStep is longer than the resolution of any file system's times.
const clockStep = 2 * time.Second

// isSettled reports whether any write after readAt changes the file's time.
func isSettled(e tree.Entry, readAt time.Time) bool {
	return e.Kind != tree.File || readAt.Sub(time.Unix(0, e.MTime)) > clockStep
}

// recordLine is a line of the file. An entry of kind Nothing was removed, or never
// existed. Paths are bytes, since they need not be UTF-8.
type recordLine struct {
	Path     []byte        `json:"path"`
	Sent     recordedEntry `json:"sent,omitzero"`
	Now      recordedEntry `json:"now,omitzero"`
	InFlight recordedEntry `json:"next,omitzero"`
	Settled  bool          `json:"sure,omitzero"`
	Copy     Copy          `json:"copy,omitzero"` // only in the first line, which has no path
}

type recordedEntry struct {
	Kind   tree.Kind `json:"kind"`
	Perm   uint32    `json:"perm,omitzero"`
	Size   int64     `json:"size,omitzero"`
	MTime  int64     `json:"mtime,omitzero"`
	Target []byte    `json:"target,omitempty"`
}

func toRecorded(e tree.Entry) recordedEntry {
	return recordedEntry{e.Kind, e.Perm, e.Size, e.MTime, []byte(e.Target)}
}

func (s recordedEntry) toEntry(path string) tree.Entry {
	return tree.Entry{Path: path, Kind: s.Kind, Perm: s.Perm, Size: s.Size, MTime: s.MTime, Target: string(s.Target)}
}

// ReadRecord reads the record in a file, which need not exist. Malformed lines are
// ignored. The record cannot be changed.
func ReadRecord(name string) (*Record, error) {
	r := &Record{entries: map[string]RecordEntry{}}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var l recordLine
		if json.Unmarshal(line, &l) != nil || len(l.Path) == 0 {
			continue
		}
		p := string(l.Path)
		r.store(p, RecordEntry{Sent: l.Sent.toEntry(p), Now: l.Now.toEntry(p), InFlight: l.InFlight.toEntry(p), Settled: l.Settled})
	}
	return r, nil
}

// OpenRecord reads a record that can be changed. It rewrites the file, with one line for
// the Copy and one for each path. A file must not be open twice at the same time.
func OpenRecord(name string, c Copy) (*Record, error) {
	r, err := ReadRecord(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	if r.f, err = os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	w := bufio.NewWriter(r.f)
	_, err = w.Write(marshalLine(recordLine{Copy: c}))
	for path, p := range r.entries {
		if err == nil {
			_, err = w.Write(marshalEntry(path, p))
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		r.f.Close()
		return nil, err
	}
	return r, nil
}

// maxCopyLine bounds a record's first line.
const maxCopyLine = 64 << 10

// ListCopies returns the copies of the records in a directory, the most recently changed
// first. It skips records that it cannot read.
func ListCopies(dir string) []Copy {
	names, _ := filepath.Glob(filepath.Join(dir, "*.jsonl")) // the pattern is well-formed
	written := map[Copy]time.Time{}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		if c, ok := readCopy(name); ok {
			written[c] = info.ModTime()
		}
	}
	return slices.SortedFunc(maps.Keys(written), func(a, b Copy) int { return written[b].Compare(written[a]) })
}

func readCopy(name string) (Copy, bool) {
	f, err := os.Open(name)
	if err != nil {
		return Copy{}, false
	}
	defer f.Close()
	text, err := bufio.NewReader(io.LimitReader(f, maxCopyLine)).ReadBytes('\n')
	var line recordLine
	if err != nil || json.Unmarshal(text, &line) != nil {
		return Copy{}, false
	}
	return line.Copy, line.Copy.Dir != "" && line.Copy.To != ""
}

func (r *Record) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}

// Get returns what was copied to a path.
func (r *Record) Get(path string) (RecordEntry, bool) {
	p, ok := r.entries[path]
	return p, ok
}

// Paths yields the paths to which something was copied, in no particular order.
func (r *Record) Paths() iter.Seq[string] { return maps.Keys(r.entries) }

// Set records what is now at a path; an entry of kind Nothing removes the record.
func (r *Record) Set(path string, p RecordEntry) error {
	r.store(path, p)
	_, err := r.f.Write(marshalEntry(path, p))
	return err
}

// Intend records entries as InFlight, before they are sent.
func (r *Record) Intend(entries iter.Seq[tree.Entry]) error {
	var text []byte
	now := time.Now()
	for e := range entries {
		p := r.entries[e.Path]
		p.InFlight, p.Settled = e, isSettled(e, now)
		r.store(e.Path, p)
		text = append(text, marshalEntry(e.Path, p)...)
	}
	_, err := r.f.Write(text)
	return err
}

func (r *Record) store(path string, p RecordEntry) {
	if p.Now.Kind == tree.Nothing && p.InFlight.Kind == tree.Nothing {
		delete(r.entries, path)
		return
	}
	p.Sent.Path, p.Now.Path, p.InFlight.Path = path, path, path
	r.entries[path] = p
}

func marshalEntry(path string, p RecordEntry) []byte {
	return marshalLine(recordLine{Path: []byte(path), Sent: toRecorded(p.Sent), Now: toRecorded(p.Now), InFlight: toRecorded(p.InFlight), Settled: p.Settled})
}

func marshalLine(line recordLine) []byte {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // it holds numbers and bytes only
	}
	return append(text, '\n')
}
