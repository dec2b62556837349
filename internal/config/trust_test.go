package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dapbridge/dapbridge/internal/config"
	"github.com/dapbridge/dapbridge/internal/diag"
)

const asks = "target: kubelet\nnode: ssh:devnode\n"

// TestTrust goes through a file's life: refused, trusted, changed, trusted
// again, taken back.
func TestTrust(t *testing.T) {
	p := newPlace(t)
	p.write(p.file(), asks)
	p.refused(diag.ConfigUntrusted, p.file()+":2: node", "before you trust")
	p.trusts(p.file())
	s := p.mustLoad()
	if !s.Trusted || s.Workspace != p.file() || s.Get("node").String() != "ssh:devnode" {
		t.Errorf("got %+v", s)
	}
	if info, err := os.Stat(p.trust.File); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the list: %v, %v", info, err)
	}

	p.write(p.file(), asks+"listen: 127.0.0.1:1\n")
	p.refused(diag.ConfigUntrusted, p.file()+":2: node", "has changed since you trusted it", "dapbridge trust")
	p.write(p.file(), "target: crio\n") // which needs no trust
	if s := p.mustLoad(); s.Trusted || s.Get("target").String() != "crio" {
		t.Errorf("got %+v", s)
	}

	p.write(p.file(), asks+"listen: 127.0.0.1:1\n")
	p.trusts(p.file())
	p.mustLoad()
	p.write(p.file(), asks) // what was trusted before is not any more
	p.refused(diag.ConfigUntrusted, "has changed")
	if pins, err := p.trust.List(); err != nil || len(pins) != 1 || pins[0].Path != p.file() {
		t.Errorf("the list: %v, %v", pins, err)
	}

	for _, want := range []bool{true, false} {
		if found, err := p.trust.Remove(p.file()); found != want || err != nil {
			t.Errorf("remove: %v, %v", found, err)
		}
	}
	p.refused(diag.ConfigUntrusted, "before you trust")
}

// TestTrustIsOfOnePlace shows that what was trusted counts nowhere else.
func TestTrustIsOfOnePlace(t *testing.T) {
	p := newPlace(t)
	good := filepath.Join(p.home, "good", config.WorkspaceName)
	p.write(good, asks)
	p.trusts(good)

	p.write(p.file(), asks) // the same content elsewhere
	p.refused(diag.ConfigUntrusted, "before you trust")

	if err := os.Remove(p.file()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(good, p.file()); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	p.refused(diag.ConfigInvalid, "it is a symbolic link")
	if _, err := config.ReadWorkspace(p.file()); diag.CodeOf(err) != diag.ConfigInvalid {
		t.Errorf("read for trust: %v", err)
	}

	// A link on the way to the directory is resolved: it is the same place.
	link := filepath.Join(p.home, "link")
	if err := os.Symlink(filepath.Dir(good), link); err != nil {
		t.Fatal(err)
	}
	p.flags["root"] = []string{link}
	if s := p.mustLoad(); !s.Trusted || s.Workspace != good {
		t.Errorf("got %+v", s)
	}
	// And one that leads elsewhere later is another.
	evil := filepath.Join(p.home, "evil")
	p.write(filepath.Join(evil, config.WorkspaceName), asks)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(evil, link); err != nil {
		t.Fatal(err)
	}
	p.refused(diag.ConfigUntrusted, filepath.Join(evil, config.WorkspaceName), "before you trust")
}

// TestTrustList holds the list against names and lines that are not plain.
func TestTrustList(t *testing.T) {
	p := newPlace(t)
	odd := filepath.Join(p.home, "a \"b\"\n0000 \"/etc", config.WorkspaceName)
	if err := os.MkdirAll(filepath.Dir(odd), 0o700); err != nil {
		t.Skip("no such names here: ", err)
	}
	p.write(odd, asks)
	p.trusts(odd)
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

	// Several that are trusted at once all stay.
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		path := filepath.Join(p.home, name, config.WorkspaceName)
		p.write(path, asks)
		wg.Go(func() { p.trusts(path) })
	}
	wg.Wait()
	if pins, err := p.trust.List(); err != nil || len(pins) != 6 {
		t.Errorf("%d pins, %v", len(pins), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(p.trust.File), "trusted-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
