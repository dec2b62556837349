//go:build linux

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	removeTimeout = 15 * time.Second // for the kernel to stop using something
	pollInterval  = 10 * time.Millisecond
)

// errBusy means that the kernel still used a thing after the timeout.
var errBusy = errors.New("still in use")

// pollUntil calls done until it reports true or fails, for at most removeTimeout.
func pollUntil(done func() (bool, error)) error {
	timer := time.NewTicker(pollInterval)
	defer timer.Stop()
	for deadline := time.Now().Add(removeTimeout); ; <-timer.C {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return errBusy
		}
	}
}

// RemoveTree removes path with its content. It refuses to if something is mounted at or
// below path, since the content of a mount is not ours. It retries if a process that
// was just killed still creates files in it.
func RemoveTree(path string) error {
	below, err := MountsBelow(path)
	if err != nil {
		return err
	}
	if len(below) > 0 {
		return fmt.Errorf("%s is a mount point", below[0])
	}
	var last error
	err = pollUntil(func() (bool, error) {
		if last = os.RemoveAll(path); errors.Is(last, unix.ENOTEMPTY) {
			return false, nil
		}
		return last == nil, last
	})
	if errors.Is(err, errBusy) {
		return last
	}
	return err
}

// MountsBelow lists the mount points at or below path in this process's mount
// namespace, in the order of mounting.
func MountsBelow(path string) ([]string, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	var points []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescapeMount(fields[4])
		if point == path || strings.HasPrefix(point, path+"/") {
			points = append(points, point)
		}
	}
	return points, nil
}

// unescapeMount decodes the octal escapes of proc_pid_mountinfo(5).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// unmount unmounts everything at or below path, newest first. As a last resort, it
// lazily detaches a mount that stays busy.
func unmount(path string) error {
	for {
		points, err := MountsBelow(path)
		if err != nil || len(points) == 0 {
			return err
		}
		point := points[len(points)-1]
		err = pollUntil(func() (bool, error) {
			err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EBUSY) {
				return false, nil
			}
			return true, err
		})
		if errors.Is(err, errBusy) {
			err = unix.Unmount(point, unix.MNT_DETACH)
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
}

func removeNetns(name string) error {
	if !exists("/run/netns/" + name) {
		return nil
	}
	return runIP("netns", "delete", name)
}

func removeLink(name string) error {
	sys := "/sys/class/net/" + name
	if !exists(sys) {
		return nil
	}
	if err := runIP("link", "delete", name); err != nil && exists(sys) {
		return err
	}
	return pollUntil(func() (bool, error) { return !exists(sys), nil })
}

func runIP(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// removeCgroup kills all processes in the group at dir and in its children, frozen or
// not, and removes the groups, innermost first. A group of version 1 cannot kill: its
// processes must be in a group of version 2 that is recorded later.
func removeCgroup(dir string) error {
	if !exists(dir) {
		return nil
	}
	if err := killGroup(dir); err != nil {
		return err
	}
	return pollUntil(func() (bool, error) {
		removeGroups(dir)
		return !exists(dir), nil
	})
}

func killGroup(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("1")
	return errors.Join(err, f.Close())
}

// removeGroups removes dir and the groups below it if they are empty.
func removeGroups(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()))
		}
	}
	_ = unix.Rmdir(dir) // fails while a process is exiting
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
