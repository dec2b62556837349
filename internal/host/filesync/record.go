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

// Record remembers on the host what was put into one directory of a node, so that
// this, and only this, is replaced and removed there. It is a file to which a line
// is added for each change, so that it holds after a crash what was told before.
type Record struct {
	f       *os.File
	entries map[string]RecordEntry
}

// Copy says of what a record is: where a directory of the host's was put last.
type Copy struct {
	Dir  string `json:"dir"`  // on the host
	Node string `json:"node"` // its name
	To   string `json:"to"`   // the directory there
}

// RecordEntry is what was put at a path.
type RecordEntry struct {
	Sent tree.Entry // what stood on the host
	Now  tree.Entry // what then stood on the node, whose file system may keep less of the time
	// Next was on its way when the node was last heard of: it may stand there in the
	// place of Now. Nothing if there is none such.
	InFlight tree.Entry
	// Sure is false for a file that was written to so shortly before it was sent, as
	// Sent or as Next, that its time may be the same after another write.
	Settled bool
}

// expected returns what is expected to stand on the node, where there does.
func (p RecordEntry) expected(there tree.Entry) tree.Entry {
	if p.InFlight.Kind != tree.Nothing && there.Matches(p.InFlight) {
		return p.InFlight
	}
	return p.Now
}

// isUpToDate reports whether the node, where there stands, has what the host has.
func (p RecordEntry) isUpToDate(host, there tree.Entry) bool {
	sent, now := p.Sent, p.Now
	if p.InFlight.Kind != tree.Nothing {
		sent, now = p.InFlight, p.InFlight
	}
	return p.Settled && isSameEntry(host, sent) && isSameEntry(there, now)
}

// isSameEntry reports whether nothing has to be done for an entry to be like another.
func isSameEntry(a, b tree.Entry) bool { return a.Matches(b) && a.Perm == b.Perm }

// clockStep is more than the step in which any file system's clock goes.
const clockStep = 2 * time.Second

// isSettled reports whether a file that was read at a time can't have been written to
// again without that its own time shows it.
func isSettled(e tree.Entry, read time.Time) bool {
	return e.Kind != tree.File || read.Sub(time.Unix(0, e.MTime)) > clockStep
}

// recordLine is a line of the file. Nothing was removed, or never there. Paths are
// bytes that need not be UTF-8.
type recordLine struct {
	Path     []byte        `json:"path"`
	Sent     recordedEntry `json:"sent,omitzero"`
	Now      recordedEntry `json:"now,omitzero"`
	InFlight recordedEntry `json:"next,omitzero"`
	Settled  bool          `json:"sure,omitzero"`
	Copy     Copy          `json:"copy,omitzero"` // of the first line alone, which has no path
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

// ReadRecord reads the record in a file, which need not exist. What is damaged of
// it counts as unknown. Nothing can be added to it.
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

// OpenRecord is [ReadRecord] for a record that is added to. It writes the file
// anew, with a line that says of what it is and one for each path. No other may be
// open for the same file.
func OpenRecord(name string, of Copy) (*Record, error) {
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
	_, err = w.Write(marshalLine(recordLine{Copy: of}))
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

// maxCopyLine bounds the line that says of what a record is.
const maxCopyLine = 64 << 10

// ListCopies returns of what the records in a directory are, the last that was written
// to first. What can't be read is none.
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

// Close closes the file.
func (r *Record) Close() error {
	if r.f == nil {
		return nil // it was only read
	}
	return r.f.Close()
}

// Get returns what was put at a path.
func (r *Record) Get(path string) (RecordEntry, bool) {
	p, ok := r.entries[path]
	return p, ok
}

// Paths are those at which something was put.
func (r *Record) Paths() iter.Seq[string] { return maps.Keys(r.entries) }

// Set remembers what now stands at a path; Nothing forgets it.
func (r *Record) Set(path string, p RecordEntry) error {
	r.store(path, p)
	_, err := r.f.Write(marshalEntry(path, p))
	return err
}

// Intend remembers what is about to be put, before that is done.
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
