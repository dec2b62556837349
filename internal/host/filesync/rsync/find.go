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

// cve is the vulnerability to a hostile receiving side in versions before 3.4.
const cve = "CVE-2024-12086"

// versionTimeout bounds the time that rsync, and the system's package manager, have to
// print its version or changelog.
const versionTimeout = 10 * time.Second

// Find returns this machine's rsync, or a diag.NoRsync error if none can be used. A
// version that a node could attack is not used: before 3.4, the receiving side can make
// the sending side reveal the content of any file (CVE-2024-12086), and overflow its
// memory (CVE-2024-12084).
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

// checkVersion returns nil if a program whose --version prints text may be used, and
// otherwise the reason why not. It calls isPatched only for a vulnerable version.
func checkVersion(path string, text []byte, isPatched func() bool) error {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if bytes.Contains(text, []byte("openrsync")) {
		return diag.Errorf(diag.NoRsync, "%s is openrsync, which lacks the options that dapbridge needs", path)
	}
	m := regexp.MustCompile(`^rsync +version v?([0-9]{1,4})\.([0-9]{1,4})\.`).FindSubmatch(first)
	if m == nil {
		return diag.Errorf(diag.NoRsync, "%s --version: %.60q is not understood", path, first)
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	switch {
	case major < 3:
		return diag.Errorf(diag.NoRsync, "%s is version %d.%d, which is too old", path, major, minor)
	case major == 3 && minor < 4 && !isPatched():
		return diag.Errorf(diag.NoRsync, "%s is version %d.%d, with which a hostile node can read your files (%s)", path, major, minor, cve)
	}
	return nil
}

// isPatched reports whether the changelog of the program's package names the
// vulnerability: distributions fix old versions, and say so there.
func isPatched(ctx context.Context, path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil || path != "/usr/bin/rsync" {
		return false // it belongs to no package
	}
	if mentionsCVE(os.DirFS("/usr/share/doc/rsync"), "changelog.Debian.gz") {
		return true
	}
	text, err := runTool(ctx, "rpm", "--query", "--changelog", "--file", path)
	return err == nil && bytes.Contains(text, []byte(cve))
}

// mentionsCVE reports whether a compressed file names the vulnerability.
func mentionsCVE(dir fs.FS, name string) bool {
	f, err := dir.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	text, err := io.ReadAll(io.LimitReader(r, maxChangelog))
	return err == nil && bytes.Contains(text, []byte(cve))
}

// maxChangelog bounds a changelog, in bytes.
const maxChangelog = 4 << 20

// runTool runs a program and returns its output.
func runTool(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := procgroup.Command(ctx, name, args...)
	cmd.Env = []string{"LC_ALL=C"}
	return cmd.Output()
}
