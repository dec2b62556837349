package rsync

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestJudge(t *testing.T) {
	for text, why := range map[string]string{
		"rsync  version 3.4.0  protocol version 32\nCopyright":                      "",
		"rsync  version 3.5.0  protocol version 32\n":                               "",
		"rsync  version v4.0.0  protocol version 33\n":                              "",
		"rsync  version 3.2.7  protocol version 31\n":                               "CVE-2024-12086",
		"rsync  version 3.0.9  protocol version 30\n":                               "CVE-2024-12086",
		"rsync  version 2.6.9  protocol version 29\n":                               "too old",
		"openrsync: protocol version 29\nrsync version 2.6.9 compatible\n":          "openrsync",
		"rsync  version 2.6.9  protocol version 29\nopenrsync: protocol version 29": "openrsync",
		"": "not understood", "\x1b[2J": "not understood", "rsync  version 99999999999999999999999.4.0": "not understood",
	} {
		err := checkVersion("/x/rsync", []byte(text), func() bool { return false })
		if why == "" && err != nil || why != "" && (diag.CodeOf(err) != diag.NoRsync || !strings.Contains(err.Error(), why) || diag.Hint(err) == "") {
			t.Errorf("%q: %v, want …%s…", text, err, why)
		}
		mended := checkVersion("/x/rsync", []byte(text), func() bool { return true })
		if wanted := why == "" || why == cve; wanted != (mended == nil) {
			t.Errorf("%q, mended: %v", text, mended)
		}
	}
}

// TestNamesHole reads changelogs as Debian and Ubuntu have them.
func TestNamesHole(t *testing.T) {
	zip := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(text))
		w.Close()
		return b.Bytes()
	}
	mended := "rsync (3.2.7-1+deb12u1) bookworm-security; urgency=high\n\n  * Fix CVE-2024-12084, CVE-2024-12085,\n    CVE-2024-12086, CVE-2024-12087\n"
	for name, tt := range map[string]struct {
		text []byte
		want bool
	}{
		"mended": {zip(mended), true}, "not": {zip("rsync (3.2.7-1) unstable; urgency=medium\n"), false},
		"no gzip": {[]byte(mended), false}, "torn": {zip(mended)[:40], false}, "too far down": {zip(strings.Repeat(" ", maxChangelog) + mended), false},
	} {
		if got := mentionsCVE(fstest.MapFS{"c.gz": {Data: tt.text}}, "c.gz"); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if mentionsCVE(fstest.MapFS{}, "c.gz") {
		t.Error("no changelog names it")
	}
}

// TestFind has programs stand in the way of the machine's rsync.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for script, why := range map[string]string{
		"echo 'rsync  version 3.4.1  protocol version 32'": "",
		"echo 'rsync  version 3.2.7  protocol version 31'": cve, // of no package
		"exit 1": "exit status 1",
	} {
		name := filepath.Join(dir, "rsync")
		if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		path, err := Find(t.Context())
		if why == "" && (err != nil || path != name) || why != "" && (diag.CodeOf(err) != diag.NoRsync || !strings.Contains(err.Error(), why)) {
			t.Errorf("%s: %q, %v", script, path, err)
		}
	}
}
