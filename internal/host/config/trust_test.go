package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/config"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

const needsTrust = "target: kubelet\nnode: ssh:devnode\n"

// TestTrust checks a file that is refused, trusted, changed, trusted again, and removed
// from the list.
func TestTrust(t *testing.T) {
	p := newProject(t)
	p.write(p.file(), needsTrust)
	p.wantRefusal(diag.ConfigUntrusted, p.file()+":2: node", "only after you have trusted")
	p.trustFile(p.file())
	s := p.mustLoad()
	wantWorkspace(t, s, p.file(), true)
	wantValue(t, s, "node", "ssh:devnode", p.file()+":2")
	if info, err := os.Stat(p.trust.File); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the list: %v, %v", info, err)
	}

	p.write(p.file(), needsTrust+"listen: 127.0.0.1:1\n")
	p.wantRefusal(diag.ConfigUntrusted, p.file()+":2: node", "has changed since you trusted it", "dapbridge trust")
	p.write(p.file(), "target: crio\n") // which needs no trust
	s = p.mustLoad()
	wantWorkspace(t, s, p.file(), false)
	wantValue(t, s, "target", "crio", p.file()+":1")

	p.write(p.file(), needsTrust+"listen: 127.0.0.1:1\n")
	p.trustFile(p.file())
	p.mustLoad()
	p.write(p.file(), needsTrust) // the content that was trusted before
	p.wantRefusal(diag.ConfigUntrusted, "has changed")
	if pins, err := p.trust.List(); err != nil || len(pins) != 1 || pins[0].Path != p.file() {
		t.Errorf("the list: %v, %v", pins, err)
	}

	for _, want := range []bool{true, false} {
		if found, err := p.trust.Remove(p.file()); found != want || err != nil {
			t.Errorf("remove: %v, %v", found, err)
		}
	}
	p.wantRefusal(diag.ConfigUntrusted, "only after you have trusted")
}

func wantWorkspace(t *testing.T, s *config.Settings, path string, trusted bool) {
	t.Helper()
	if s.Workspace != path {
		t.Errorf("the workspace's file is %q, want %q", s.Workspace, path)
	}
	if s.Trusted != trusted {
		t.Errorf("trusted is %v, want %v", s.Trusted, trusted)
	}
}

// TestTrustIsBoundToAPath checks that a trusted file is not trusted elsewhere.
func TestTrustIsBoundToAPath(t *testing.T) {
	p := newProject(t)
	good := filepath.Join(p.home, "good", config.WorkspaceName)
	p.write(good, needsTrust)
	p.trustFile(good)

	p.write(p.file(), needsTrust) // the same content elsewhere
	p.wantRefusal(diag.ConfigUntrusted, "only after you have trusted")

	if err := os.Remove(p.file()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(good, p.file()); err != nil {
		testenv.Skipf(t, "symbolic links are not supported: %v", err)
	}
	p.wantRefusal(diag.ConfigInvalid, "it is a symbolic link")
	if _, err := config.ReadWorkspace(p.file()); diag.CodeOf(err) != diag.ConfigInvalid {
		t.Errorf("read for trust: %v", err)
	}

	// A link to the directory is resolved: it is the same place.
	link := filepath.Join(p.home, "link")
	if err := os.Symlink(filepath.Dir(good), link); err != nil {
		t.Fatal(err)
	}
	p.flags["root"] = []string{link}
	wantWorkspace(t, p.mustLoad(), good, true)
	// Once it points elsewhere, it is a different place.
	evil := filepath.Join(p.home, "evil")
	p.write(filepath.Join(evil, config.WorkspaceName), needsTrust)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(evil, link); err != nil {
		t.Fatal(err)
	}
	p.wantRefusal(diag.ConfigUntrusted, filepath.Join(evil, config.WorkspaceName), "only after you have trusted")
}

// TestTrustList checks the list with unusual file names and malformed lines.
func TestTrustList(t *testing.T) {
	p := newProject(t)
	odd := filepath.Join(p.home, "a \"b\"\n0000 \"/etc", config.WorkspaceName)
	if err := os.MkdirAll(filepath.Dir(odd), 0o700); err != nil {
		testenv.Skipf(t, "such names are not supported: %v", err)
	}
	p.write(odd, needsTrust)
	p.trustFile(odd)
	if pins, err := p.trust.List(); err != nil || len(pins) != 1 || pins[0].Path != odd {
		t.Errorf("%q, %v", pins, err)
	}
	text, err := os.ReadFile(p.trust.File)
	if err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("%q, %v", text, err)
	}
	p.write(p.trust.File, "cut short\n\n"+string(text)+"0 \"unfinished")
	if pins, err := p.trust.List(); err != nil || len(pins) != 1 {
		t.Errorf("%q, %v", pins, err)
	}

	// Files trusted concurrently are all kept.
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		path := filepath.Join(p.home, name, config.WorkspaceName)
		p.write(path, needsTrust)
		wg.Go(func() { p.trustFile(path) })
	}
	wg.Wait()
	if pins, err := p.trust.List(); err != nil || len(pins) != 6 {
		t.Errorf("%d pins, %v", len(pins), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(p.trust.File), "trusted-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
