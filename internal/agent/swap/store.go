//go:build linux

package swap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// store is a directory that only root can write to, with a directory for each unit.
type store struct{ dir string }

const (
	recordName   = "record.json"
	originalName = "original"
	recordLimit  = 4 << 20
)

// storeLockTimeout gives a run whose connection was cut time to notice that.
const storeLockTimeout = 5 * time.Second

// openStore creates the directory and locks it, so that only one run is in progress.
// The lock ends with the process.
func openStore(dir string) (store, func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return store{}, nil, err
	}
	if err := checkOwner(dir); err != nil {
		return store{}, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return store{}, nil, err
	}
	locked := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for deadline := time.Now().Add(storeLockTimeout); locked != nil && time.Now().Before(deadline); {
		time.Sleep(pollPause)
		locked = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if locked != nil {
		lock.Close()
		return store{}, nil, diag.Errorf(diag.DeployRefused, "another deploy or restore is running on the node").
			WithHint("wait until it has ended, and try again")
	}
	if !hasName(lock) {
		lock.Close()
		return openStore(dir)
	}
	return store{dir}, func() { lock.Close() }, nil
}

// hasName reports whether an open file still has its name. It does not if a restore
// that held the lock before has removed it.
func hasName(f *os.File) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(ours, there)
}

// checkOwner refuses a directory that another user could write to.
func checkOwner(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory that only this user can write to", dir)
	}
	return nil
}

func (s store) unitDir(unit string) string { return filepath.Join(s.dir, unit) }

func (s store) originalPath(unit string) string { return filepath.Join(s.unitDir(unit), originalName) }

// load returns a unit's record, nil if there is none.
func (s store) load(unit string) (*record, error) {
	path := filepath.Join(s.unitDir(unit), recordName)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > recordLimit {
		return nil, fmt.Errorf("%s is too large", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if r.Version != recordVersion || r.Unit != unit || !filepath.IsAbs(r.Path) {
		return nil, diag.Errorf(diag.DeployRefused, "%s was written by another release of dapbridge", path).
			WithHint("run the restore of that release first")
	}
	return r, nil
}

func (s store) loadAll() ([]*record, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var list []*record
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		r, err := s.load(e.Name())
		if err != nil {
			return nil, err
		}
		if r != nil {
			list = append(list, r)
		}
	}
	return list, nil
}

// findByName returns the record of a target that may not be running: that of the
// service of this name, or else of any unit with an executable of this name; nil if
// there is none.
func (s store) findByName(name string) (*record, error) {
	list, err := s.loadAll()
	if err != nil {
		return nil, err
	}
	var found *record
	for _, r := range list {
		switch {
		case r.Stage == stageKept:
		case r.Unit == api.ServiceOf(name):
			return r, nil
		case filepath.Base(r.Path) == name:
			found = r
		}
	}
	return found, nil
}

// checkExclusive refuses an executable that was deployed for another unit, since it is
// not the original.
func (s store) checkExclusive(unit, path string) error {
	list, err := s.loadAll()
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Unit != unit && r.Path == path && r.Stage != stageKept {
			return diag.Errorf(diag.DeployRefused, "%s was already deployed for %s", path, r.Unit).
				WithHint("run dapbridge restore first")
		}
	}
	return nil
}

// save writes a record atomically.
func (s store) save(r *record) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	dir := s.unitDir(r.Unit)
	next, err := os.OpenFile(filepath.Join(dir, recordName+".next"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(append(data, '\n'))
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err != nil {
		return err
	}
	return renameSynced(next.Name(), filepath.Join(dir, recordName))
}

// create copies the original and writes the first record. A copy without a record was
// left by an interrupted run and is replaced.
func (s store) create(r *record) error {
	dir := s.unitDir(r.Unit)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := checkSpace(dir, r.Original.Size); err != nil {
		return err
	}
	f, err := openFile(r.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := createFile(s.originalPath(r.Unit), f, r.Original.Size, r.Original.SHA256, nil); err != nil {
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	r.Version, r.Stage = recordVersion, stageKept
	return s.save(r)
}

// delete removes what is stored for a unit. It removes the record first: without that,
// the rest is ignored.
func (s store) delete(unit string) error {
	if err := removeIfExists(filepath.Join(s.unitDir(unit), recordName)); err != nil {
		return err
	}
	return os.RemoveAll(s.unitDir(unit))
}
