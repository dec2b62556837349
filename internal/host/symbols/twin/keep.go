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
)

// Kept is the debug file of a twin that has been proved to be one.
type DebugFile struct {
	Path  string `json:"path"` // of the debug file
	Hash  string `json:"hash"` // its SHA-256 in hex
	Size  int64  `json:"size"`
	Times Times  `json:"times"` // of the build that made it
	// LDFlags are the linker's flags, if the executable does not record them.
	LDFlags string `json:"ldflags,omitempty"`
}

// key names what has a fingerprint: all that is loaded of it and where. So
// what is found under the key of a target is of its twin, without another proof.
func fingerprintKey(p exe.Fingerprint) (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Find returns the twin of a target with that fingerprint, or nil if none has
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
		return nil, err // built again
	}
	return k, nil
}

// keep stores the debug sections of a twin. They are whole or not there.
func (j *job) store(p exe.Fingerprint, twin string, times Times) (*DebugFile, error) {
	k := &DebugFile{Times: times, LDFlags: j.ldflags}
	name, err := fingerprintKey(p)
	if err != nil {
		return nil, err
	}
	next := filepath.Join(j.work, "kept")
	if err := os.Mkdir(next, 0o700); err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	if k.Hash, k.Size, err = writeDebug(filepath.Join(next, "debug"), twin); err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "keep the debug sections: %w", err)
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
		return nil, diag.Errorf(diag.WriteFailed, "keep the debug sections: %w", err)
	}
	k.Path = filepath.Join(final, "debug")
	return k, nil
}

func writeDebug(path, twin string) (hash string, size int64, err error) {
	in, err := os.Open(twin)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	err = debugfile.Write(io.MultiWriter(out, h), in)
	info, statErr := out.Stat()
	if err = errors.Join(err, statErr, out.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(h.Sum(nil)), info.Size(), nil
}

// Remove removes all twins and the build cache.
func (b *Builder) Remove() error {
	if err := removeAll(b.Dir); err != nil {
		return diag.Errorf(diag.WriteFailed, "%w", err)
	}
	return nil
}
