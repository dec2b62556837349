package vscode_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/vscode"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	want := filepath.Join(dir, ".vscode", "launch.json")
	path, changed, err := vscode.Write(dir, containerd())
	if err != nil {
		t.Fatal(err)
	}
	if !changed {
		t.Error("a new file is not reported as a change")
	}
	if path != want {
		t.Errorf("path %s, want %s", path, want)
	}
	first := readFile(t, path)
	if golden := readFile(t, "testdata/empty.want.jsonc"); !bytes.Equal(first, golden) {
		t.Errorf("got\n%s\nwant\n%s", first, golden)
	}
	if _, changed, err = vscode.Write(dir, containerd()); err != nil || changed {
		t.Errorf("a second run: changed %v, %v", changed, err)
	}
	l := containerd()
	l.Port = 2346
	if _, changed, err = vscode.Write(dir, l); err != nil || !changed {
		t.Errorf("another port: changed %v, %v", changed, err)
	}
	if got, want := readFile(t, path), bytes.ReplaceAll(first, []byte("2345"), []byte("2346")); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	checkOnlyFile(t, filepath.Dir(path))
}

func TestWriteKeepsMode(t *testing.T) {
	testenv.SkipOn(t, "windows", "it has no such modes")
	dir := t.TempDir()
	path := putLaunch(t, dir, "{}")
	if err := os.Chmod(path, 0o606); err != nil {
		t.Fatal(err)
	}
	if _, _, err := vscode.Write(dir, containerd()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o606 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWriteFollowsLinksInside(t *testing.T) {
	for _, absolute := range []bool{false, true} {
		dir := t.TempDir()
		// .vscode -> conf/code, conf/code/launch.json -> ../launch.json
		if err := os.MkdirAll(filepath.Join(dir, "conf", "code"), 0o755); err != nil {
			t.Fatal(err)
		}
		real := filepath.Join(dir, "conf", "launch.json")
		if err := os.WriteFile(real, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
		folder, file := filepath.Join("conf", "code"), filepath.Join("..", "launch.json")
		if absolute {
			folder, file = filepath.Join(dir, folder), real
		}
		symlink(t, folder, filepath.Join(dir, ".vscode"))
		symlink(t, file, filepath.Join(dir, "conf", "code", "launch.json"))

		path, changed, err := vscode.Write(dir, containerd())
		if err != nil || !changed {
			t.Fatalf("changed %v, %v", changed, err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("the link was replaced: %v, %v", info, err)
		}
		if !strings.Contains(string(readFile(t, real)), "dlv-dap") {
			t.Error("the file was not written")
		}
	}
}

func TestWriteCreatesFileInLinkedFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	symlink(t, "conf", filepath.Join(dir, ".vscode"))
	if _, _, err := vscode.Write(dir, containerd()); err != nil {
		t.Fatal(err)
	}
	readFile(t, filepath.Join(dir, "conf", "launch.json"))
}

func TestWriteRefusesLinksOutside(t *testing.T) {
	for name, lay := range map[string]func(t *testing.T, dir, outside string){
		"file": func(t *testing.T, dir, outside string) {
			mkdir(t, filepath.Join(dir, ".vscode"))
			symlink(t, filepath.Join(outside, "launch.json"), filepath.Join(dir, ".vscode", "launch.json"))
		},
		"file, relative": func(t *testing.T, dir, outside string) {
			mkdir(t, filepath.Join(dir, ".vscode"))
			symlink(t, filepath.Join("..", "..", filepath.Base(outside), "launch.json"), filepath.Join(dir, ".vscode", "launch.json"))
		},
		"missing file": func(t *testing.T, dir, outside string) {
			mkdir(t, filepath.Join(dir, ".vscode"))
			symlink(t, filepath.Join(outside, "new.json"), filepath.Join(dir, ".vscode", "launch.json"))
		},
		"folder": func(t *testing.T, dir, outside string) {
			symlink(t, outside, filepath.Join(dir, ".vscode"))
		},
		"missing folder": func(t *testing.T, dir, outside string) {
			symlink(t, filepath.Join(outside, "new"), filepath.Join(dir, ".vscode"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			both := t.TempDir()
			dir, outside := filepath.Join(both, "dir"), filepath.Join(both, "outside")
			mkdir(t, dir)
			mkdir(t, outside)
			if err := os.WriteFile(filepath.Join(outside, "launch.json"), []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
			lay(t, dir, outside)
			_, changed, err := vscode.Write(dir, containerd())
			checkWriteFails(t, changed, err)
			if text := readFile(t, filepath.Join(outside, "launch.json")); string(text) != "{}" {
				t.Errorf("the file outside is now %s", text)
			}
			checkOnlyFile(t, outside)
		})
	}
}

func TestWriteFails(t *testing.T) {
	for name, lay := range map[string]func(t *testing.T, dir string){
		"no directory":               func(t *testing.T, dir string) { removeFile(t, dir) },
		".vscode is a file":          func(t *testing.T, dir string) { testenv.WriteFile(t, filepath.Join(dir, ".vscode"), "") },
		"launch.json is a directory": func(t *testing.T, dir string) { mkdir(t, filepath.Join(dir, ".vscode", "launch.json")) },
		"read-only file": func(t *testing.T, dir string) {
			if err := os.Chmod(putLaunch(t, dir, "{}"), 0o444); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			lay(t, dir)
			_, changed, err := vscode.Write(dir, containerd())
			checkWriteFails(t, changed, err)
		})
	}
}

func TestWriteLeavesInvalidFile(t *testing.T) {
	dir := t.TempDir()
	path := putLaunch(t, dir, "{\n  nonsense\n}")
	_, changed, err := vscode.Write(dir, containerd())
	if changed {
		t.Error("an invalid file is reported as changed")
	}
	if diag.CodeOf(err) != diag.LaunchInvalid {
		t.Fatalf("error %v, want a %s error", err, diag.LaunchInvalid)
	}
	if want := path + ":2:3: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want %s", err, want)
	}
	if got := string(readFile(t, path)); got != "{\n  nonsense\n}" {
		t.Errorf("the file is now %s", got)
	}
}

func putLaunch(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, ".vscode", "launch.json")
	mkdir(t, filepath.Dir(path))
	testenv.WriteFile(t, path, text)
	return path
}

func mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(name, 0o755); err != nil {
		t.Fatal(err)
	}
}

func removeFile(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		testenv.SkipOn(t, "windows", "links need a privilege")
		t.Fatal(err)
	}
}

// checkOnlyFile checks that dir contains launch.json and nothing else.
func checkOnlyFile(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "launch.json" {
		t.Errorf("%s contains %v, want only launch.json", dir, entries)
	}
}

// checkWriteFails checks that Write failed with [diag.WriteFailed].
func checkWriteFails(t *testing.T, changed bool, err error) {
	t.Helper()
	if changed {
		t.Error("a failed write is reported as a change")
	}
	if diag.CodeOf(err) != diag.WriteFailed {
		t.Errorf("error %v, want a %s error", err, diag.WriteFailed)
	}
}
