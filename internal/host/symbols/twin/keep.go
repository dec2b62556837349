package twin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/symbols/debugfile"
	"github.com/dapbridge/dapbridge/internal/host/symbols/gopart"
)

// DebugFile is the stored debug information of a twin that passed the proof.
type DebugFile struct {
	Path  string `json:"path"`
	Hash  string `json:"hash"` // SHA-256 in hex
	Size  int64  `json:"size"`
	Times Times  `json:"times"` // durations of the build
	// Source says what the twin was built from, see [recipe.Source.String].
	Source string `json:"source,omitempty"`
	// LDFlags are the linker flags of the twin, if the executable does not record them.
	LDFlags string `json:"ldflags,omitempty"`
	// GoOnly says that the executable's C code differs from the twin's: nothing is known
	// of C functions.
	GoOnly bool `json:"goOnly,omitempty"`
}

// fingerprintKey returns the name under which the twin of an executable is stored. A
// fingerprint covers everything that is loaded and its addresses, so a debug file
// found under a target's key needs no second proof.
func fingerprintKey(p exe.Fingerprint) (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Find returns the debug file for a target with that fingerprint, or nil if none has
// been built.
func (b *Builder) Find(p exe.Fingerprint) (*DebugFile, error) {
	name, err := fingerprintKey(p)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.Dir, "kept", name)
	text, err := os.ReadFile(filepath.Join(dir, "kept.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k := &DebugFile{}
	if err := json.Unmarshal(text, k); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	k.Path = filepath.Join(dir, "debug")
	if info, err := os.Stat(k.Path); err != nil || info.Size() != k.Size {
		return nil, err // incomplete: build it again
	}
	return k, nil
}

// store stores the debug sections of a twin atomically.
func (j *job) store(p exe.Fingerprint, twin string) (*DebugFile, error) {
	k := &DebugFile{Times: j.times, LDFlags: j.ldflags, GoOnly: j.placement != nil, Source: j.recipe.Source.String()}
	name, err := fingerprintKey(p)
	if err != nil {
		return nil, err
	}
	next := filepath.Join(j.work, "kept")
	if err := os.Mkdir(next, 0o700); err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	if k.Hash, k.Size, err = j.writeDebug(filepath.Join(next, "debug"), twin); err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "store the debug sections: %w", err)
	}
	text, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(filepath.Join(next, "kept.json"), text, 0o600)
	}
	final := filepath.Join(j.Dir, "kept", name)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(final), 0o700)
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(final), os.Rename(next, final))
	}
	if err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "store the debug sections: %w", err)
	}
	k.Path = filepath.Join(final, "debug")
	return k, nil
}

// writeDebug writes the debug sections of the twin to a new file at path.
func (j *job) writeDebug(path, twin string) (hash string, size int64, err error) {
	in, err := os.Open(twin)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	var edit debugfile.Edit
	if j.placement != nil {
		e, err := gopart.NewEditor(in, j.placement)
		if err != nil {
			return "", 0, err
		}
		edit = e.Edit
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	err = debugfile.Write(io.MultiWriter(out, h), in, edit)
	info, statErr := out.Stat()
	if err = errors.Join(err, statErr, out.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), info.Size(), nil
}

// Remove removes all debug files and the build cache.
func (b *Builder) Remove() error {
	if err := removeAll(b.Dir); err != nil {
		return diag.Errorf(diag.WriteFailed, "%w", err)
	}
	return nil
}
