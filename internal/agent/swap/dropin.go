//go:build linux

package swap

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// dropIn is a file of ours that overrides settings of a unit; see systemd.unit(5).
type dropIn struct {
	Unit string `json:"unit"`
	Path string `json:"path"`
	Text string `json:"text"`
}

// unitFiles is the directory of the administrator's unit files.
const unitFiles = "/etc/systemd/system"

// newDropIn returns a drop-in whose name sorts after all others, so that its settings
// win.
func newDropIn(root, unit string, settings ...string) dropIn {
	return dropIn{
		Unit: unit, Path: filepath.Join(root, unit+".d", "zz-dapbridge.conf"),
		Text: "# Written by dapbridge deploy; dapbridge restore removes it.\n[Service]\n" + strings.Join(settings, "\n") + "\n",
	}
}

// write writes the file atomically, and creates its directory if necessary.
func (d dropIn) write() error {
	dir := filepath.Dir(d.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	next, err := os.OpenFile(d.tempPath(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = next.WriteString(d.Text)
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err != nil {
		return err
	}
	return renameSynced(d.tempPath(), d.Path)
}

// tempPath is where the file is written before it is complete: systemd reads *.conf
// only.
func (d dropIn) tempPath() string { return d.Path + ".next" }

// remove removes the file, and then its directory if that is empty. It reports whether
// the file existed.
func (d dropIn) remove() (bool, error) {
	if err := removeIfExists(d.tempPath()); err != nil {
		return false, err
	}
	err := os.Remove(d.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err != nil {
		return false, nil
	}
	dir := filepath.Dir(d.Path)
	if unix.Rmdir(dir) == nil { // it fails if the directory is not empty, or is a symbolic link
		dir = filepath.Dir(dir)
	}
	return true, syncDir(dir)
}
