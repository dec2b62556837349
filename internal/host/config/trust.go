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

// maxList bounds the size of the list of trusted files; a line has a few hundred
// bytes.
const maxList = 4 << 20

// Trust is the list of workspace files that the user has trusted, one per line:
//
//	SHA256 "PATH"
//
// A file is trusted only at that path and with that content. The list is the user's
// own, has mode 0600, and is replaced atomically.
type Trust struct{ File string }

// Pin is a trusted file.
type Pin struct {
	Path string `json:"path"`
	Sum  string `json:"sha256"`
}

// trustState says whether a file is in the list.
type trustState int

const (
	unknown trustState = iota
	changed            // trusted with different content
	trusted
)

// List returns the trusted files, sorted by path.
func (t Trust) List() ([]Pin, error) {
	f, err := readFile(t.File, maxList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadableError(t.File, err)
	}
	if why := othersCanWrite(f.info); why != "" {
		return nil, errorf(diag.ConfigUntrusted, "refusing to use the list of trusted files %s: %s", t.File, why).
			WithHint("remove the list, and trust the files again")
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

func (t Trust) lookup(w *Workspace) (trustState, error) {
	pins, err := t.List()
	if err != nil {
		return unknown, err
	}
	for _, p := range pins {
		if p.Path == w.Path && p.Sum == w.Sum {
			return trusted, nil
		}
		if p.Path == w.Path {
			return changed, nil
		}
	}
	return unknown, nil
}

// Add trusts the file with the content that was read. It replaces any entry for the
// same path.
func (t Trust) Add(w *Workspace) error {
	if err := w.checkForbidden("your own configuration"); err != nil {
		return err
	}
	if why := othersCanWrite(w.info); why != "" {
		return withPermissionHint(errorf(diag.ConfigUntrusted, "cannot trust %s: %s", w.Path, why))
	}
	_, err := t.replace(w.Path, &Pin{Path: w.Path, Sum: w.Sum})
	return err
}

// Remove removes the file at path from the list, and reports whether it was there.
func (t Trust) Remove(path string) (bool, error) { return t.replace(path, nil) }

// replace removes the entries for path, and adds one if it is not nil.
func (t Trust) replace(path string, add *Pin) (found bool, err error) {
	if err := os.MkdirAll(filepath.Dir(t.File), 0o700); err != nil {
		return false, t.writeError(err)
	}
	unlock, err := lockedfile.MutexAt(t.File + ".lock").Lock()
	if err != nil {
		return false, t.writeError(err)
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
		return found, t.writeError(err)
	}
	return found, nil
}

// write replaces the list with one rename.
func (t Trust) write(pins []Pin) error {
	f, err := os.CreateTemp(filepath.Dir(t.File), "trusted-") // with mode 0600
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

func (t Trust) writeError(err error) error {
	return errorf(diag.WriteFailed, "cannot write the list of trusted files: %w", err)
}
