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

func TestCheckVersion(t *testing.T) {
	for text, reason := range map[string]string{
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
		t.Run(text, func(t *testing.T) {
			checkNoRsync(t, checkVersion("/x/rsync", []byte(text), func() bool { return false }), reason)
			if reason == cve { // a patch makes up for the version alone
				reason = ""
			}
			checkNoRsync(t, checkVersion("/x/rsync", []byte(text), func() bool { return true }), reason)
		})
	}
}

// checkNoRsync checks that err is a NoRsync error with the reason and a hint, or nil
// without a reason.
func checkNoRsync(t *testing.T, err error, reason string) {
	t.Helper()
	if reason == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if diag.CodeOf(err) != diag.NoRsync || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want a NoRsync error with %q", err, reason)
	}
	if err != nil && diag.Hint(err) == "" {
		t.Errorf("%v has no hint", err)
	}
}

// TestMentionsCVE reads changelogs in the format of Debian and Ubuntu.
func TestMentionsCVE(t *testing.T) {
	zip := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(text))
		w.Close()
		return b.Bytes()
	}
	patched := "rsync (3.2.7-1+deb12u1) bookworm-security; urgency=high\n\n  * Fix CVE-2024-12084, CVE-2024-12085,\n    CVE-2024-12086, CVE-2024-12087\n"
	for name, tt := range map[string]struct {
		text []byte
		want bool
	}{
		"patched": {zip(patched), true}, "not patched": {zip("rsync (3.2.7-1) unstable; urgency=medium\n"), false},
		"not compressed": {[]byte(patched), false}, "truncated": {zip(patched)[:40], false}, "too far down": {zip(strings.Repeat(" ", maxChangelog) + patched), false},
	} {
		if got := mentionsCVE(fstest.MapFS{"c.gz": {Data: tt.text}}, "c.gz"); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
	if mentionsCVE(fstest.MapFS{}, "c.gz") {
		t.Error("a missing changelog mentions the CVE")
	}
}

// TestFind finds other programs in place of the machine's rsync.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for script, reason := range map[string]string{
		"echo 'rsync  version 3.4.1  protocol version 32'": "",
		"echo 'rsync  version 3.2.7  protocol version 31'": cve, // not from a package
		"exit 1": "exit status 1",
	} {
		name := filepath.Join(dir, "rsync")
		if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		path, err := Find(t.Context())
		checkNoRsync(t, err, reason)
		if reason == "" && path != name {
			t.Errorf("found %q, want %q", path, name)
		}
	}
}
