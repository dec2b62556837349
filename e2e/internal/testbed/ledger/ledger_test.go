//go:build linux

package ledger

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestAddIsOnDiskBeforeItReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.json")
	l := openLedger(t, path)
	want := []Entry{{Kind: Path, Name: "/tmp/a"}, {Kind: Link, Name: "veth9"}}
	for _, e := range want {
		if err := l.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add(want[0]); err != nil { // must not be recorded twice
		t.Fatal(err)
	}
	got := openLedger(t, path).Entries()
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("read back %v, want %v", got, want)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".new-*"))
	if len(left) > 0 {
		t.Errorf("temporary files left behind: %v", left)
	}
}

func TestOpenRefusesADamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.json")
	if err := os.WriteFile(path, []byte(`{"entries": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open of half a file: %v, want an error that names it", err)
	}
}

func TestUndoRemovesNewestFirstAndIsIdempotent(t *testing.T) {
	dir := t.TempDir()
	l := openLedger(t, filepath.Join(dir, "ledger.json"))
	outer := filepath.Join(dir, "outer")
	for _, path := range []string{outer, filepath.Join(outer, "inner"), filepath.Join(dir, "never made")} {
		if err := l.Add(Entry{Kind: Path, Name: path}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(outer, "inner"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Undo(); err != nil {
			t.Fatal(err)
		}
	}
	if exists(outer) {
		t.Errorf("%s was not removed", outer)
	}
}

func TestUndoContinuesAfterAFailure(t *testing.T) {
	dir := t.TempDir()
	l := openLedger(t, filepath.Join(dir, "ledger.json"))
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{{Kind: Path, Name: file}, {Kind: "comet", Name: "halley"}} {
		if err := l.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Undo(); err == nil || !strings.Contains(err.Error(), "comet halley") {
		t.Errorf("Undo: %v, want an error that names the entry", err)
	}
	if exists(file) {
		t.Error("the entry before the failing one was not removed")
	}
}

func TestProcessIsKilledOnlyIfItsStartTimeMatches(t *testing.T) {
	dir := t.TempDir()
	l := openLedger(t, filepath.Join(dir, "ledger.json"))
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pid, err := l.Start(t.Context(), Daemon{
		Name:   "sleeper",
		Argv:   []string{"sh", "-c", "echo $HELLO; exec sleep 300"},
		Env:    []string{"HELLO=up"},
		Output: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	start, _, err := StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := kill(pid, start+1); err != nil {
		t.Fatal(err)
	}
	if !Alive(pid, start) {
		t.Fatal("a process with another start time was killed")
	}
	if err := pollUntil(func() (bool, error) {
		raw, err := os.ReadFile(out.Name())
		return string(raw) == "up\n", err
	}); err != nil {
		t.Fatalf("output of the started program: %v", err)
	}
	for range 2 {
		if err := l.Undo(); err != nil {
			t.Fatal(err)
		}
	}
	if Alive(pid, start) {
		t.Errorf("process %d is still running", pid)
	}
}

func TestProgramDoesNotRunIfItCannotBeRecorded(t *testing.T) {
	dir := t.TempDir()
	l := openLedger(t, filepath.Join(dir, "no such directory", "ledger.json"))
	mark := filepath.Join(dir, "mark")
	output, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	_, err = l.Start(t.Context(), Daemon{Name: "toucher", Argv: []string{"touch", mark}, Output: write})
	write.Close()
	if err == nil {
		t.Fatal("Start succeeded without a record")
	}
	// The output ends when the process that would have run the program has ended.
	if _, err := io.ReadAll(output); err != nil {
		t.Fatal(err)
	}
	if exists(mark) {
		t.Error("the program ran")
	}
}

func TestRemoveTreeRefusesMounts(t *testing.T) {
	if os.Getuid() != 0 {
		testenv.Skipf(t, "mounting needs root")
	}
	dir := t.TempDir()
	kept, point := filepath.Join(dir, "kept"), filepath.Join(dir, "tree", "a b")
	for _, d := range []string{kept, point} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("mount", "--bind", kept, point).CombinedOutput(); err != nil {
		testenv.Skipf(t, "cannot mount here: %s", out)
	}
	tree := filepath.Dir(point)
	if err := RemoveTree(tree); err == nil {
		t.Error("RemoveTree removed a tree with a mount")
	}
	if err := unmount(tree); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTree(tree); err != nil {
		t.Error(err)
	}
	if !exists(kept) {
		t.Error("the mounted directory was removed")
	}
}

func openLedger(t *testing.T, path string) *Ledger {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
