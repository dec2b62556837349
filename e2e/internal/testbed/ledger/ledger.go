//go:build linux

package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Kind says what an [Entry] names.
type Kind string

// What a ledger can take away again.
const (
	Path    Kind = "path"    // a file or a directory with all that is in it
	Mount   Kind = "mount"   // a mount point and everything mounted below it
	Netns   Kind = "netns"   // a network namespace made by "ip netns add"
	Link    Kind = "link"    // a network interface; a veth takes its peer along
	Cgroup  Kind = "cgroup"  // a control group, its processes and children
	Process Kind = "process" // a process, told by its pid and start time
)

// Entry is one thing that was, or was about to be, made.
type Entry struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // in clock ticks since boot, see proc(5)
}

func (e Entry) String() string {
	if e.Kind == Process {
		return fmt.Sprintf("process %d (%s)", e.PID, e.Name)
	}
	return string(e.Kind) + " " + e.Name
}

// Ledger is a file of entries. Its methods may be called from several
// goroutines; two processes must agree among themselves who holds it.
type Ledger struct {
	path string

	mu   sync.Mutex
	data contents
}

// contents is the file: boot tells process numbers of an earlier boot apart.
type contents struct {
	Boot    string  `json:"boot"`
	Entries []Entry `json:"entries"`
}

// Open reads the ledger at path; a file that does not exist is an empty one,
// and is not made before the first Add.
func Open(path string) (*Ledger, error) {
	l := &Ledger{path: path, data: contents{Boot: bootID()}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	if err := json.Unmarshal(raw, &l.data); err != nil {
		return nil, fmt.Errorf("read ledger %s: %w", path, err)
	}
	return l, nil
}

// Add records e; it is on disk when Add returns. Only then make the thing.
func (l *Ledger) Add(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.data.Entries, e) {
		return nil
	}
	next := l.data
	next.Entries = append(slices.Clone(next.Entries), e)
	raw, err := json.MarshalIndent(next, "", "\t")
	if err != nil {
		return fmt.Errorf("record %s: %w", e, err)
	}
	if err := replaceFile(l.path, append(raw, '\n')); err != nil {
		return fmt.Errorf("record %s: %w", e, err)
	}
	l.data = next
	return nil
}

// Entries returns a copy of what is recorded, oldest first.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.data.Entries)
}

// Undo removes everything recorded, newest first. It goes on past failures and
// returns all of them joined; the file itself stays, for the caller to remove
// once nothing is left. Undo of what is gone already is no error.
func (l *Ledger) Undo() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	rebooted := l.data.Boot != bootID()
	var errs []error
	for _, e := range slices.Backward(l.data.Entries) {
		if rebooted && e.Kind != Path {
			continue // only files outlive a boot
		}
		if err := removeEntry(e); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", e, err))
		}
	}
	return errors.Join(errs...)
}

func removeEntry(e Entry) error {
	switch e.Kind {
	case Path:
		return RemoveTree(e.Name)
	case Mount:
		return unmount(e.Name)
	case Netns:
		return removeNetns(e.Name)
	case Link:
		return removeLink(e.Name)
	case Cgroup:
		return removeCgroup(e.Name)
	case Process:
		return kill(e.PID, e.Start)
	}
	return fmt.Errorf("unknown kind %q", e.Kind)
}

// replaceFile writes data to path so that a reader, or a crash, sees the old
// content or the new one and nothing between.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}
