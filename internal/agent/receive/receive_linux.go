package receive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// User is the user who owns the copy.
type User struct {
	UID, GID int
	Groups   []int
}

// LookupUser returns the user who became root by sudo, given SUDO_UID (sudo(8)), or
// this process's user if that is empty.
func LookupUser(sudoUID string) (User, error) {
	if sudoUID == "" {
		sudoUID = strconv.Itoa(os.Getuid())
	}
	u, err := user.LookupId(sudoUID)
	if err != nil {
		return User{}, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return User{}, err
	}
	numbers := make([]int, len(groups)+2)
	for i, text := range append(groups, u.Uid, u.Gid) {
		if numbers[i], err = strconv.Atoi(text); err != nil {
			return User{}, fmt.Errorf("user %s: %w", sudoUID, err)
		}
	}
	n := len(groups)
	return User{UID: numbers[n], GID: numbers[n+1], Groups: numbers[:n]}, nil
}

// Receive creates the directory c.Top if it does not exist, gives it to u, becomes u
// for good, and then serves. It may run as root, and reads nothing from c.In before it
// has become u. An error is sent to the host.
func Receive(c Config, u User, force bool) error {
	out := frame.NewWriter(c.Out)
	top, err := openTop(c, u, force)
	if err == nil {
		err = becomeUser(u)
	}
	if err == nil && top != nil && !c.ReadOnly {
		err = lockTop(top, lockTimeout)
	}
	if err == nil && top != nil {
		err = checkSameDir(top, c.Top)
	}
	if err != nil || top == nil {
		out.SendHello(false, err)
		if err := out.W.Flush(); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, c.In) // until the host closes it
		return err
	}
	defer top.Close() // releases the lock
	return Serve(c)
}

// openTop opens the top directory; nil if it does not exist and is not to be created.
func openTop(c Config, u User, force bool) (*os.File, error) {
	parent, top, made, err := openPath(c.Top, !c.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if top == nil || c.ReadOnly {
		return top, nil
	}
	owner, err := ownerOf(top)
	if err == nil && owner != u.UID && !made && !force {
		err = diag.Errorf(diag.SyncRefused, "%s belongs to another user (uid %d)", c.Top, owner)
	}
	if err == nil && owner != u.UID {
		err = top.Chown(u.UID, u.GID)
	}
	if err == nil {
		err = makeBackup(parent, u)
	}
	if err != nil {
		top.Close()
		return nil, err
	}
	return top, nil
}

// openPath opens the last directory of an absolute path and the directory that
// contains it, without following a symbolic link. If create is set, it creates missing
// directories; otherwise top is nil if one is missing.
func openPath(path string, create bool) (parent, top *os.File, made bool, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return nil, nil, false, diag.Errorf(diag.SyncRefused, "%q is not a directory for a copy", path)
	}
	if top, err = os.OpenFile("/", flags, 0); err != nil {
		return nil, nil, false, err
	}
	for name := range strings.SplitSeq(path[1:], "/") {
		if parent != nil {
			parent.Close()
		}
		parent, top, made = top, nil, false
		at := filepath.Join(parent.Name(), name)
		fd, err := unix.Openat(int(parent.Fd()), name, flags, 0)
		if errors.Is(err, unix.ENOENT) && !create {
			return parent, nil, false, nil
		}
		if errors.Is(err, unix.ENOENT) {
			made = true
			if err = unix.Mkdirat(int(parent.Fd()), name, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
				fd, err = unix.Openat(int(parent.Fd()), name, flags, 0)
			}
		}
		if err != nil {
			defer parent.Close()
			return nil, nil, false, explainOpenError(parent, name, at, err)
		}
		top = os.NewFile(uintptr(fd), at)
	}
	return parent, top, made, nil
}

func explainOpenError(dir *os.File, name, at string, err error) error {
	var target [4096]byte
	n, linkErr := unix.Readlinkat(int(dir.Fd()), name, target[:])
	switch {
	case linkErr == nil:
		return diag.Errorf(diag.SyncRefused, "%s is a symbolic link to %s", at, target[:n])
	case errors.Is(err, unix.ENOTDIR):
		return diag.Errorf(diag.SyncRefused, "%s is not a directory", at)
	}
	return &os.PathError{Op: "open", Path: at, Err: err}
}

// makeBackup creates the backup directory beside the tree if u cannot do so.
func makeBackup(parent *os.File, u User) error {
	owner, err := ownerOf(parent)
	if err != nil || owner == u.UID {
		return err
	}
	err = unix.Mkdirat(int(parent.Fd()), BackupDir, 0o700)
	if errors.Is(err, unix.EEXIST) {
		return nil // if it is not u's, backing up will fail
	}
	if err == nil {
		err = unix.Fchownat(int(parent.Fd()), BackupDir, u.UID, u.GID, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &os.PathError{Op: "make", Path: filepath.Join(parent.Name(), BackupDir), Err: err}
	}
	return nil
}

func ownerOf(f *os.File) (int, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return int(stat.Uid), nil
}

// becomeUser gives up root for good, in all threads, and verifies that.
func becomeUser(u User) error {
	if u.UID == os.Getuid() {
		return nil
	}
	err := syscall.Setgroups(u.Groups)
	if err == nil {
		err = syscall.Setresgid(u.GID, u.GID, u.GID)
	}
	if err == nil {
		err = syscall.Setresuid(u.UID, u.UID, u.UID)
	}
	if err != nil {
		return fmt.Errorf("become user %d: %w", u.UID, err)
	}
	r, e, s := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	groups, err := syscall.Getgroups()
	slices.Sort(groups)
	want := slices.Sorted(slices.Values(u.Groups))
	if err != nil || r != u.UID || e != u.UID || s != u.UID || rg != u.GID || eg != u.GID || sg != u.GID || !slices.Equal(groups, want) {
		return fmt.Errorf("become user %d: rights of another user remain", u.UID)
	}
	if syscall.Setuid(0) == nil {
		return fmt.Errorf("become user %d: root can be regained", u.UID)
	}
	return nil
}

// lockTimeout bounds how long a receiver waits for another one, which may be about to
// end.
const lockTimeout = 5 * time.Second

// lockTop prevents other receivers from writing to the tree until top is closed.
func lockTop(top *os.File, timeout time.Duration) error {
	for end := time.Now().Add(timeout); ; {
		err := unix.Flock(int(top.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return &os.PathError{Op: "lock", Path: top.Name(), Err: err}
		case time.Now().After(end):
			return diag.Errorf(diag.SyncBusy, "another dapbridge sync is writing to %s on the node", top.Name())
		}
		<-time.After(50 * time.Millisecond)
	}
}

// checkSameDir verifies that path still leads to top, with the permissions of the new
// user.
func checkSameDir(top *os.File, path string) error {
	current, err := os.Stat(path)
	if errors.Is(err, fs.ErrPermission) {
		return diag.Errorf(diag.SyncRefused, "uid %d, who logs in, may not enter a directory above %s", os.Getuid(), path)
	}
	if err != nil {
		return err
	}
	opened, err := top.Stat()
	if err == nil && !os.SameFile(current, opened) {
		err = diag.Errorf(diag.SyncRefused, "%s was replaced meanwhile", path)
	}
	return err
}
