//go:build linux

package swap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// File describes an executable completely enough to restore it.
type File struct {
	SHA256  string            `json:"sha256"`
	Size    int64             `json:"size"`
	Mode    uint32            `json:"mode"` // permission bits, set-user-ID and the like, see chmod(2)
	UID     int               `json:"uid"`
	GID     int               `json:"gid"`
	ModTime time.Time         `json:"modTime"`
	Xattrs  map[string][]byte `json:"xattrs,omitempty"` // including SELinux's label, capabilities and ACLs
}

var errNotRegular = errors.New("not a regular file")

// openFile opens a regular file and does not follow a symbolic link.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: %w", path, errNotRegular)
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s: %w", path, errNotRegular))
	}
	return f, nil
}

// describeFile describes the regular file at a path.
func describeFile(path string) (File, error) {
	f, err := openFile(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return File{}, err
	}
	sum, err := hashReader(f)
	if err != nil {
		return File{}, err
	}
	attrs, err := readXattrs(f)
	if err != nil {
		return File{}, fmt.Errorf("read the extended attributes of %s: %w", path, err)
	}
	return File{
		SHA256: sum, Size: st.Size, Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Xattrs: attrs,
	}, nil
}

func hashReader(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readXattrs reads all extended attributes. It returns none if the file system does not
// support them.
func readXattrs(f *os.File) (map[string][]byte, error) {
	fd := int(f.Fd())
	names := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Flistxattr(fd, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for name := range bytes.SplitSeq(names[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		n, err := unix.Fgetxattr(fd, string(name), value)
		if err != nil {
			return nil, err
		}
		all[string(name)] = bytes.Clone(value[:n])
	}
	return all, nil
}

// apply gives an open file the owner, mode and extended attributes of a, and syncs it.
// The order matters: changing the owner clears set-user-ID and capabilities
// (chown(2)).
func (a File) apply(f *os.File) error {
	fd := int(f.Fd())
	if err := unix.Fchown(fd, a.UID, a.GID); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, a.Mode); err != nil {
		return err
	}
	has, err := readXattrs(f)
	if err != nil {
		return err
	}
	for name := range has {
		if _, ok := a.Xattrs[name]; ok || name == "security.selinux" { // assigned by the policy
			continue
		}
		if err := unix.Fremovexattr(fd, name); err != nil { // such as an ACL inherited from the directory
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	for name, value := range a.Xattrs {
		if v, ok := has[name]; ok && bytes.Equal(v, value) {
			continue
		}
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return f.Sync()
}

// matches reports whether two files are equal in everything that is restored.
func (a File) matches(b File) bool {
	if a.SHA256 != b.SHA256 || a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || !a.ModTime.Equal(b.ModTime) || len(a.Xattrs) != len(b.Xattrs) {
		return false
	}
	for name, value := range a.Xattrs {
		if v, ok := b.Xattrs[name]; !ok || !bytes.Equal(v, value) {
			return false
		}
	}
	return true
}

// createFile creates a file with the content of r, which no other user can access
// before finish is called. If r does not yield exactly size bytes with that SHA-256, it
// fails and leaves no file.
func createFile(path string, r io.Reader, size int64, sum string, finish func(*os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(path)
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, size+1))
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return diag.Errorf(diag.DeploySpace, "write %s: %w", path, err)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != size || got != sum {
		return fmt.Errorf("received %d bytes with SHA-256 %s, not %d with %s", n, got, size, sum)
	}
	if finish != nil {
		return finish(f)
	}
	return f.Sync()
}

// syncDir syncs a directory's entries to the disk.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// renameSynced renames a file over another one, and syncs the directory.
func renameSynced(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// removeIfExists is os.Remove, but succeeds if there is no file.
func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
