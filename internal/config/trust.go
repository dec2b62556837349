package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// maxList bounds the list of trusted files; a line has a few hundred bytes.
const maxList = 4 << 20

// Trust is the list of workspace's files that the user has trusted, a line each:
//
//	SHA256 "PATH"
//
// A file is trusted at that path and with that content only. The list is the
// user's own, of mode 0600, and replaced as a whole.
type Trust struct{ File string }

// Pin is a trusted file.
type Pin struct {
	Path string `json:"path"`
	Sum  string `json:"sha256"`
}

// state is how a file stands to the list.
type state int

const (
	unknown state = iota
	changed       // pinned with another content
	pinned
)

// List returns the pins in the order of their paths.
func (t Trust) List() ([]Pin, error) {
	f, err := read(t.File, maxList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(t.File, err)
	}
	if why := othersWrite(f.info); why != "" {
		return nil, errorf(diag.ConfigUntrusted, "the list of trusted files, %s, does not count: %s", t.File, why).
			WithHint("remove it, and trust the files again")
	}
	var pins []Pin
	for line := range strings.Lines(string(f.text)) {
		sum, quoted, _ := strings.Cut(strings.TrimSpace(line), " ")
		if path, err := strconv.Unquote(quoted); err == nil {
			pins = append(pins, Pin{Path: path, Sum: sum})
		}
	}
	slices.SortFunc(pins, func(a, b Pin) int { return strings.Compare(a.Path, b.Path) })
	return pins, nil
}

func (t Trust) state(w *Workspace) (state, error) {
	pins, err := t.List()
	if err != nil {
		return unknown, err
	}
	for _, p := range pins {
		if p.Path == w.Path && p.Sum == w.Sum {
			return pinned, nil
		}
		if p.Path == w.Path {
			return changed, nil
		}
	}
	return unknown, nil
}

// Add pins the file as it was read, in place of what was pinned at its path.
func (t Trust) Add(w *Workspace) error {
	if err := w.never("your own configuration"); err != nil {
		return err
	}
	if why := othersWrite(w.info); why != "" {
		return closeToOthers(errorf(diag.ConfigUntrusted, "%s can't be trusted: %s", w.Path, why))
	}
	_, err := t.replace(w.Path, &Pin{Path: w.Path, Sum: w.Sum})
	return err
}

// Remove takes the file at path from the list, and reports whether it was there.
func (t Trust) Remove(path string) (bool, error) { return t.replace(path, nil) }

// replace takes path's pins away, and adds one if it is not nil.
func (t Trust) replace(path string, add *Pin) (found bool, err error) {
	if err := os.MkdirAll(filepath.Dir(t.File), 0o700); err != nil {
		return false, t.unwritable(err)
	}
	unlock, err := lockedfile.MutexAt(t.File + ".lock").Lock()
	if err != nil {
		return false, t.unwritable(err)
	}
	defer unlock()
	pins, err := t.List()
	if err != nil {
		return false, err
	}
	kept := slices.DeleteFunc(slices.Clone(pins), func(p Pin) bool { return p.Path == path })
	found = len(kept) < len(pins)
	if add != nil {
		kept = append(kept, *add)
	}
	if err := t.write(kept); err != nil {
		return found, t.unwritable(err)
	}
	return found, nil
}

// write replaces the list by one rename.
func (t Trust) write(pins []Pin) error {
	f, err := os.CreateTemp(filepath.Dir(t.File), "trusted-") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	var text strings.Builder
	for _, p := range pins {
		fmt.Fprintf(&text, "%s %s\n", p.Sum, strconv.Quote(p.Path))
	}
	_, err = f.WriteString(text.String())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), t.File)
}

func (t Trust) unwritable(err error) error {
	return errorf(diag.WriteFailed, "the list of trusted files can't be written: %w", err)
}
