package rsync

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/procgroup"
)

// cve is what a hostile receiving side makes use of in versions before 3.4.
const cve = "CVE-2024-12086"

// versionTimeout bounds how long rsync, or the system's package manager, may take to say
// its version.
const versionTimeout = 10 * time.Second

// Find returns this machine's rsync, if it can be used: a diag.NoRsync error else.
// One that a node could abuse is not: before 3.4 the receiving side can have the
// sending one tell the content of any file (CVE-2024-12086), and overflow its memory
// (CVE-2024-12084).
func Find(ctx context.Context) (string, error) {
	ctx, stop := context.WithTimeout(ctx, versionTimeout)
	defer stop()
	path, err := exec.LookPath("rsync")
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", diag.Errorf(diag.NoRsync, "this machine has no rsync")
	}
	text, err := runTool(ctx, path, "--version")
	if err != nil {
		return "", diag.Errorf(diag.NoRsync, "%s --version: %w", path, err)
	}
	return path, checkVersion(path, text, func() bool { return isPatched(ctx, path) })
}

// checkVersion says why a program that prints text for --version is not used, nil if it
// is. patched is asked only of a version that has the hole.
func checkVersion(path string, text []byte, patched func() bool) error {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if bytes.Contains(text, []byte("openrsync")) {
		return diag.Errorf(diag.NoRsync, "%s is openrsync, which lacks options that are needed", path)
	}
	m := regexp.MustCompile(`^rsync +version v?([0-9]{1,4})\.([0-9]{1,4})\.`).FindSubmatch(first)
	if m == nil {
		return diag.Errorf(diag.NoRsync, "%s says %.60q of its version, which is not understood", path, first)
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	switch {
	case major < 3:
		return diag.Errorf(diag.NoRsync, "%s is version %d.%d, which is too old", path, major, minor)
	case major == 3 && minor < 4 && !patched():
		return diag.Errorf(diag.NoRsync, "%s is version %d.%d, by which a hostile node can read this user's files (%s)", path, major, minor, cve)
	}
	return nil
}

// isPatched reports whether the changelog of the package that a program belongs to
// names the hole: distributions mend old versions, and say so there.
func isPatched(ctx context.Context, path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil || path != "/usr/bin/rsync" {
		return false // of no package
	}
	if mentionsCVE(os.DirFS("/usr/share/doc/rsync"), "changelog.Debian.gz") {
		return true
	}
	text, err := runTool(ctx, "rpm", "--query", "--changelog", "--file", path)
	return err == nil && bytes.Contains(text, []byte(cve))
}

// mentionsCVE reports whether a compressed file names the hole.
func mentionsCVE(dir fs.FS, name string) bool {
	f, err := dir.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	text, err := io.ReadAll(io.LimitReader(unpacked, maxChangelog))
	return err == nil && bytes.Contains(text, []byte(cve))
}

// maxChangelog bounds a changelog.
const maxChangelog = 4 << 20

// runTool returns what a program prints.
func runTool(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := procgroup.Command(ctx, name, args...)
	cmd.Env = []string{"LC_ALL=C"}
	return cmd.Output()
}
