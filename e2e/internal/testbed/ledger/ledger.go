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

// What a ledger can remove.
const (
	Path    Kind = "path"    // a file or a directory with its content
	Mount   Kind = "mount"   // a mount point and everything mounted below it
	Netns   Kind = "netns"   // a network namespace made by "ip netns add"
	Link    Kind = "link"    // a network interface, and the peer of a veth
	Cgroup  Kind = "cgroup"  // a control group, its processes and children
	Process Kind = "process" // a process, identified by its pid and start time
)

// Entry is a thing that was created or about to be.
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

// Ledger is a file of entries. Its methods may be called by several goroutines.
// Processes must coordinate their access themselves.
type Ledger struct {
	path string

	mu   sync.Mutex
	data contents
}

// contents is the content of the file. Boot identifies the boot in which pids are valid.
type contents struct {
	Boot    string  `json:"boot"`
	Entries []Entry `json:"entries"`
}

// Open reads the ledger at path. If the file does not exist, the ledger is empty, and
// the first Add creates the file.
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

// Add records e on disk. The caller must create the thing only after Add has returned.
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

// Entries returns a copy of the entries, oldest first.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.data.Entries)
}

// Undo removes everything that is recorded, newest first. It continues after a failure
// and returns all failures joined. It ignores things that do not exist. It keeps the
// file, which the caller removes once nothing is left.
func (l *Ledger) Undo() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	rebooted := l.data.Boot != bootID()
	var errs []error
	for _, e := range slices.Backward(l.data.Entries) {
		if rebooted && e.Kind != Path {
			continue // only files survive a reboot
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

// replaceFile writes data to path atomically and durably.
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
