//go:build linux

package supervisor

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/idle"
)

const (
	symbolsLimit = 1 << 30     // size of a debug file, in bytes
	maxSymbols   = 4           // number of debug files to keep, the newest
	symbolsStale = time.Hour   // age at which an incomplete upload is removed
	symbolsIdle  = time.Minute // idle timeout of an upload
	debugName    = "debug"     // name of the file in the directory named by its hash
)

// symbolStore is a directory with one directory for each debug file, named by its
// hash. Only its owner has access.
type symbolStore struct{ dir string }

// openSymbols returns the store beside this program, whose own directory is named by
// its hash (host/remote, uploadScript).
func openSymbols() (symbolStore, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return symbolStore{}, err
	}
	return symbolStore{filepath.Join(filepath.Dir(filepath.Dir(exe)), "symbols")}, nil
}

// StoreSymbols stores a gzip-compressed debug file with the given hash beside this
// program.
// If r goes silent, it returns after the idle timeout and leaves a goroutine blocked
// in a read, which ends with the process.
func StoreSymbols(r io.Reader, hash string) error {
	s, err := openSymbols()
	if err != nil {
		return err
	}
	alive := idle.NewReader(r, symbolsIdle)
	defer alive.Close()
	return s.add(alive, hash)
}

func isHash(hash string) bool { return regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(hash) }

// add stores a debug file completely or not at all.
func (s symbolStore) add(r io.Reader, hash string) error {
	if !isHash(hash) {
		return fmt.Errorf("%q is not a SHA-256", hash)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.checkOwner(); err != nil {
		return err
	}
	s.prune(hash)
	next, err := os.MkdirTemp(s.dir, ".next-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next)
	if err := receiveSymbols(r, filepath.Join(next, debugName), hash); err != nil {
		return err
	}
	err = os.Rename(next, filepath.Join(s.dir, hash))
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil // another upload of the same file was faster
	}
	return err
}

// checkOwner refuses a directory that another user could write to.
func (s symbolStore) checkOwner() error {
	info, err := os.Lstat(s.dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory that only this user can write to", s.dir)
	}
	return nil
}

// receiveSymbols writes a file and verifies its hash.
func receiveSymbols(r io.Reader, path, hash string) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("receive the symbols: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(z, symbolsLimit+1))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("receive the symbols: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n > symbolsLimit || got != hash {
		return fmt.Errorf("the symbols were damaged in transit: their SHA-256 is %s", got)
	}
	return nil
}

// prune removes what interrupted uploads left behind, and the oldest files, to make
// room for one more file. It ignores errors, and leaves except alone.
func (s symbolStore) prune(except string) {
	type debugFile struct {
		path string
		age  time.Time
	}
	var all []debugFile
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == except {
			continue
		}
		path := filepath.Join(s.dir, e.Name())
		switch {
		case isHash(e.Name()):
			all = append(all, debugFile{path, info.ModTime()})
		case time.Since(info.ModTime()) > symbolsStale:
			os.RemoveAll(path)
		}
	}
	slices.SortFunc(all, func(a, b debugFile) int { return b.age.Compare(a.age) })
	for _, k := range all[min(len(all), maxSymbols-1):] {
		os.RemoveAll(k.path)
	}
}

func (s symbolStore) has(hash string) bool {
	if !isHash(hash) || s.checkOwner() != nil {
		return false
	}
	info, err := os.Lstat(filepath.Join(s.dir, hash, debugName))
	return err == nil && info.Mode().IsRegular()
}

// link returns the directory in which Delve finds the debug file for the program (its
// pkg/proc/bininfo.go, openSeparateDebugInfo). Delve looks for it under the name of the
// executable, or under "exe" if that file has been deleted.
func (s symbolStore) link(hash, program string) (string, error) {
	if !s.has(hash) {
		return "", diag.Errorf(diag.TargetStripped, "the symbols are no longer on the node")
	}
	dir := filepath.Join(s.dir, hash)
	return dir, linkDebug(dir, program)
}

// linkDebug lets Delve find the debug file in dir for the program.
func linkDebug(dir, program string) error {
	for _, name := range []string{filepath.Base(program), "exe"} {
		if err := os.Symlink(debugName, filepath.Join(dir, name+".debug")); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// tempDir returns a new directory for a debug file that is not kept, in which Delve will
// find it for the program. If it is not removed, a later upload removes it.
func (s symbolStore) tempDir(program string) (string, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", err
	}
	if err := s.checkOwner(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.dir, ".next-")
	if err != nil {
		return "", err
	}
	if err := linkDebug(dir, program); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// removeAll removes the store.
func (s symbolStore) removeAll() (r api.RemovedSymbols, err error) {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err := s.checkOwner(); err != nil {
		return r, err
	}
	files, _ := filepath.Glob(filepath.Join(s.dir, "*", debugName)) // the pattern is well-formed
	for _, f := range files {
		if info, err := os.Lstat(f); err == nil {
			r.Files++
			r.Bytes += info.Size()
		}
	}
	return r, os.RemoveAll(s.dir)
}

func (s *supervisor) hasSymbols(_ context.Context, p api.SymbolsParams) (bool, error) {
	store, err := openSymbols()
	return err == nil && store.has(p.Hash), api.ToRPC(err)
}

func (s *supervisor) removeSymbols(context.Context) (api.RemovedSymbols, error) {
	store, err := openSymbols()
	if err != nil {
		return api.RemovedSymbols{}, api.ToRPC(err)
	}
	r, err := store.removeAll()
	return r, api.ToRPC(err)
}

// debugInfo is what a session gets to know a target by, besides what the target carries
// itself.
type debugInfo struct {
	dir       string // with the debug file; "" if the target needs none
	source    string // the hash of the debug file, or functionTable; "" if the target needs none
	goVersion string // of a target whose function table is to be used
}

const functionTable = "function table"

// remove removes what is not kept for other sessions.
func (d debugInfo) remove() {
	if d.source == functionTable {
		os.RemoveAll(d.dir)
	}
}

// findDebugInfo finds the debug information of a stripped target: the file that was
// proved to belong to this very process, or an empty directory for what its function table
// gives. The error's code is diag.TargetStripped if there is no such file and the function
// table must not do.
func findDebugInfo(t api.Target, p api.AttachParams) (d debugInfo, err error) {
	if !t.Build.Stripped {
		return d, nil
	}
	s := p.Symbols
	isFor := s != nil && (process{s.PID, s.StartTicks}).matches(t.Process) && s.BuildID == t.Build.BuildID
	if !isFor && !p.FunctionTable {
		return d, diag.Errorf(diag.TargetStripped, "%s (pid %d) carries no debug information", t.Exe, t.PID)
	}
	store, err := openSymbols()
	switch {
	case err != nil:
		return d, err
	case isFor:
		d.source = s.Hash
		d.dir, err = store.link(s.Hash, t.Exe)
	default:
		d.source, d.goVersion = functionTable, t.Build.GoVersion
		d.dir, err = store.tempDir(t.Exe)
	}
	return d, err
}
