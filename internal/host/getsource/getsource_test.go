package getsource

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	testenv.NeedsTool(t, "git")
	cmd := exec.Command("git", append([]string{"-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// tempDir returns a temporary directory without symbolic links in its path.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		testenv.WriteFile(t, filepath.Join(dir, name), text)
	}
}

// program returns the files of a module whose dependency is replaced with a directory.
func program() map[string]string {
	return map[string]string{
		"go.mod":  "module example.com/prog/v2\n\ngo 1.26\n\nrequire example.com/dep v1.0.0\n\nreplace example.com/dep => ./third/dep\n",
		"main.go": "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.Value) }\n",
	}
}

// newWorkspace makes a repository named prog with a submodule, and returns its directory
// and the origin of a program that was built there. Then the user has gone on: HEAD is
// another commit, and there are uncommitted changes.
func newWorkspace(t *testing.T) (dir string, o *exe.Origin) {
	t.Helper()
	dep, dir := tempDir(t), filepath.Join(tempDir(t), "prog")
	writeTree(t, dep, map[string]string{"go.mod": "module example.com/dep\n", "dep.go": "package dep\n\nconst Value = 1\n"})
	writeTree(t, dir, program())
	for _, d := range []string{dep, dir} {
		runGit(t, d, "init", "--quiet", "--initial-branch=main")
		if d == dir {
			runGit(t, d, "submodule", "--quiet", "add", dep, "third/dep")
		}
		runGit(t, d, "add", "--all")
		runGit(t, d, "commit", "--quiet", "--message=built")
	}
	o = newOrigin(runGit(t, dir, "rev-parse", "HEAD"), "v2.3.4")
	o.Deps = []exe.Module{{Path: "example.com/dep", Version: "v1.0.0", Replace: &exe.Module{Path: "./third/dep"}}}
	writeTree(t, dir, map[string]string{"main.go": "package main // later\n"})
	runGit(t, dir, "commit", "--quiet", "--all", "--message=later")
	writeTree(t, dir, map[string]string{"main.go": "package main // not committed\n", "new.txt": "new"})
	return dir, o
}

func newOrigin(commit, version string) *exe.Origin {
	settings := map[string]string{"vcs": "git", "vcs.revision": commit, "vcs.modified": "false"}
	return &exe.Origin{Build: exe.Build{GoVersion: "go1.26.0", ModulePath: "example.com/prog/v2", ModuleVersion: version, Settings: settings}}
}

// listFiles lists the files below dir, without those of git.
func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ".git" && path != dir {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			list = append(list, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// get gets the source, which must succeed.
func get(t *testing.T, c Config, o *exe.Origin) *Result {
	t.Helper()
	c.Env = os.Environ()
	r, err := c.Get(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkRefused checks that the source is refused with the code and texts.
func checkRefused(t *testing.T, c Config, o *exe.Origin, code diag.Code, texts ...string) {
	t.Helper()
	c.Env = os.Environ()
	r, err := c.Get(t.Context(), o)
	if diag.CodeOf(err) != code {
		t.Errorf("got %+v, error %v, want a %s error", r, err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error()+" "+diag.Hint(err), text) {
			t.Errorf("error %q (%s), want %q", err, diag.Hint(err), text)
		}
	}
}

// TestCommit gets a worktree beside the workspace, in which the program can be built with
// its submodule, and which the next call finds.
func TestCommit(t *testing.T) {
	dir, o := newWorkspace(t)
	before, status := listFiles(t, dir), runGit(t, dir, "status", "--porcelain", "--branch")
	r := get(t, Config{Root: filepath.Join(dir, "third")}, o)
	want := dir + "@v2.3.4"
	testenv.Equal(t, "the directory", r.Dir, want)
	testenv.Equal(t, "the module", r.Module, want)
	testenv.Equal(t, "created", r.Created, true)
	testenv.Equal(t, "notes", len(r.Notes), 0)
	testenv.Equal(t, "its files", listFiles(t, want), []string{".gitmodules", "go.mod", "main.go", "third/dep/dep.go", "third/dep/go.mod"})
	testenv.Equal(t, "main.go", testenv.ReadFile(t, filepath.Join(want, "main.go")), program()["main.go"])
	testenv.Equal(t, "its status", runGit(t, want, "status", "--porcelain"), "")
	cmd := exec.Command("go", "vet", ".")
	cmd.Dir, cmd.Env = want, append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOPROXY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
	testenv.Equal(t, "the user's files", listFiles(t, dir), before)
	testenv.Equal(t, "the status of the user's tree", runGit(t, dir, "status", "--porcelain", "--branch"), status)

	testenv.WriteFile(t, filepath.Join(want, "mine.go"), "package main\n")
	for _, root := range []string{dir, want} {
		again := get(t, Config{Root: root}, o)
		testenv.Equal(t, "the directory", again.Dir, want)
		testenv.Equal(t, "created", again.Created, false)
	}
	testenv.Equal(t, "the user's file there", testenv.ReadFile(t, filepath.Join(want, "mine.go")), "package main\n")
}

// TestCommitWithoutTag checks the name of the directory for a commit that is no release,
// and the note about changes that no commit holds.
func TestCommitWithoutTag(t *testing.T) {
	dir, o := newWorkspace(t)
	o.ModuleVersion, o.Settings["vcs.modified"] = "v2.0.0-20260101000000-14303e4a1b1f+dirty", "true"
	r := get(t, Config{Root: dir}, o)
	testenv.Equal(t, "the directory", r.Dir, dir+"-"+o.Settings["vcs.revision"][:8])
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "uncommitted changes") {
		t.Errorf("notes %q, want one about uncommitted changes", r.Notes)
	}
	to := filepath.Join(tempDir(t), "there")
	testenv.Equal(t, "the directory with --to", get(t, Config{Root: dir, To: to}, o).Dir, to)
}

// TestMissingParts notes what the build had and the user has not.
func TestMissingParts(t *testing.T) {
	dir, o := newWorkspace(t)
	runGit(t, dir, "submodule", "--quiet", "deinit", "--force", "third/dep")
	if err := os.RemoveAll(filepath.Join(dir, ".git", "modules")); err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(get(t, Config{Root: dir}, o).Notes, "\n")
	for _, want := range []string{"submodule third/dep is empty", "submodule update --init third/dep", "go.mod replaces example.com/dep with " + dir + "@v2.3.4/third/dep, which is missing"} {
		if !strings.Contains(notes, filepath.FromSlash(want)) && !strings.Contains(notes, want) {
			t.Errorf("notes %q, want %q", notes, want)
		}
	}
}

// TestExists refuses every directory that is not the right one, and replaces what a
// killed run has left.
func TestExists(t *testing.T) {
	dir, o := newWorkspace(t)
	place := dir + "@v2.3.4"
	writeTree(t, place, map[string]string{"mine": "mine"})
	checkRefused(t, Config{Root: dir}, o, diag.SourceExists, "did not create it", "--to")
	testenv.Equal(t, "the file", testenv.ReadFile(t, filepath.Join(place, "mine")), "mine")
	if err := os.RemoveAll(place); err != nil {
		t.Fatal(err)
	}
	runGit(t, dir, "worktree", "add", "--quiet", "--detach", place, "HEAD")
	checkRefused(t, Config{Root: dir}, o, diag.SourceExists, "worktree of another commit")
	if err := os.RemoveAll(place); err != nil {
		t.Fatal(err)
	}
	runGit(t, dir, "worktree", "prune")
	runGit(t, dir, "worktree", "add", "--no-checkout", "--lock", "--reason", "dapbridge is checking it out", "--detach", place, o.Settings["vcs.revision"])
	testenv.Equal(t, "created", get(t, Config{Root: dir}, o).Created, true)
	testenv.Equal(t, "main.go", testenv.ReadFile(t, filepath.Join(place, "main.go")), program()["main.go"])
	if err := os.RemoveAll(place); err != nil {
		t.Fatal(err)
	}
	checkRefused(t, Config{Root: dir}, o, diag.SourceExists, "is gone", "worktree prune")
}

// TestUnknown says what was tried, and leaves nothing behind.
func TestUnknown(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	dir, o := newWorkspace(t)
	o.Deps = nil
	o.Settings["vcs.revision"] = strings.Repeat("1", 40)
	checkRefused(t, Config{Root: dir}, o, diag.SourceUnknown,
		"commit "+o.Settings["vcs.revision"]+": the repository of "+dir+" does not contain it",
		"the published version example.com/prog/v2@v2.3.4: go mod download", "git fetch --tags")
	checkRefused(t, Config{Root: tempDir(t)}, newOrigin(o.Settings["vcs.revision"], "(devel)"), diag.SourceUnknown, "is in no git repository")
	checkRefused(t, Config{Root: dir}, &exe.Origin{Build: exe.Build{ModulePath: "example.com/prog"}}, diag.SourceUnknown, "neither a commit nor a published version")
	checkRefused(t, Config{Root: dir}, &exe.Origin{}, diag.SourceUnknown, "records no module")
	checkRefused(t, Config{Root: dir}, newOrigin("--upload-pack=evil", "(devel)"), diag.SourceUnknown, "invalid revision")
	ctx, cancel := context.WithCancel(t.Context())
	c := Config{Root: dir, Env: os.Environ(), Progress: func(string) { cancel() }}
	o.Settings["vcs.revision"] = runGit(t, dir, "rev-parse", "HEAD~1")
	if _, err := c.Get(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v was left beside the workspace, %v", entries, err)
	}
}
