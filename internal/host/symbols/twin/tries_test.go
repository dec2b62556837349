package twin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// depSums is the go.sum for the sample's dependency.
const depSums = "example.com/dep v1.0.0 h1:bUCbrb05Uiq38EJgZKc8Wg5mcc2wyMhjy6fV5Ym8Udo=\nexample.com/dep v1.0.0/go.mod h1:+QWJ4TaKK0+5my1i1gpAnAdlLGkNg3weRsq3J1AghTg=\n"

// newRelease commits the files as a repository's version v1.5.0, and returns its
// directory. What is built there records both the version and the commit.
func newRelease(t *testing.T, files map[string]string) string {
	t.Helper()
	repo := t.TempDir()
	writeTree(t, repo, files)
	run(t, repo, nil, "git", "init", "--quiet", "--initial-branch=main")
	run(t, repo, nil, "git", "add", "--all")
	run(t, repo, nil, "git", "commit", "--quiet", "--message=first")
	run(t, repo, nil, "git", "tag", "v1.5.0")
	return repo
}

// TestRelease builds the twins of programs that were released from a clone, where the
// user has no clone: from the published version, or a copy of the directory.
func TestRelease(t *testing.T) {
	settings := publishSample(t)
	for name, test := range map[string]struct {
		files map[string]string
		flags []string
	}{
		"trimpath":           {unvendored(), []string{"-trimpath", "-ldflags=-s -w -X 'main.version=not recorded'"}},
		"paths":              {unvendored(), []string{"-ldflags=-s -w -X main.version=recorded"}},
		"vendored":           {sample(), []string{"-ldflags=-s -w"}},
		"vendored, trimpath": {sample(), []string{"-trimpath", "-ldflags=-s -w"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := openOriginal(t, buildTarget(t, newRelease(t, test.files), settings, append(test.flags, "-buildvcs=true")...))
			if s := o.recipe(t).Recorded; s.Version != "v1.5.0" || len(s.Settings) != 4 {
				t.Fatalf("the target records %+v, want a version and a commit", s)
			}
			file := checkTwin(t, o, t.TempDir())
			r := o.recipe(t)
			*r = *r.WithSource(r.Others[0])
			checkScript(t, r, o, t.TempDir(), file.LDFlags)
			t.Setenv("GOPROXY", "off")
			t.Setenv("GOMODCACHE", t.TempDir())
			dir := t.TempDir()
			writeTree(t, dir, sample()) // what it needs is vendored
			if r.Vendored {
				checkTwin(t, o, dir)
			}
		})
	}
}

// TestEverySourceFails checks that the error names each source and why it failed.
func TestEverySourceFails(t *testing.T) {
	settings := publishSample(t)
	changed := unvendored()
	changed["cmd/m/plain.go"] = strings.Replace(changed["cmd/m/plain.go"], "return 1", "println(\"changed\"); return 1", 1)
	o := openOriginal(t, buildTarget(t, newRelease(t, changed), settings, "-buildvcs=true", "-trimpath", "-ldflags=-s -w"))
	broken := unvendored()
	broken["cmd/m/main.go"] += "\nfunc broken() { return 1 }\n"
	dir := t.TempDir()
	writeTree(t, dir, broken)
	checkBuildFails(t, o.recipe(t), dir, o, diag.TwinDiffers,
		"commit "+o.recipe(t).Source.Revision+": ", "is not in a git repository",
		"; the published version example.com/m@v1.5.0: the twin is not the same program", "first in main.extra",
		"; a copy of the directory: go build", "too many return values")
}

// TestSourceOrder checks that a version in the module cache comes first, since it costs
// nothing.
func TestSourceOrder(t *testing.T) {
	settings := publishSample(t)
	repo := newRelease(t, unvendored())
	o := openOriginal(t, buildTarget(t, repo, settings, "-buildvcs=true", "-ldflags=-s -w"))
	j := &job{Builder: newBuilder(t), recipe: o.recipe(t), work: t.TempDir()}
	check := func(want ...string) {
		t.Helper()
		if err := j.prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range j.sources() {
			first, _, _ := strings.Cut(s.String(), " example")
			got = append(got, first)
		}
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("sources %q, want %q", got, want)
		}
	}
	commit := "commit " + o.recipe(t).Source.Revision
	check(commit, "the published version", "a copy of the directory")
	run(t, repo, settings, "go", "mod", "download", "example.com/m@v1.5.0")
	check("the published version", commit, "a copy of the directory")
	j.recipe.Vendored = true
	check(commit, "the published version", "a copy of the directory")
}

// TestStampImportConfig checks what the linker is given.
func TestStampImportConfig(t *testing.T) {
	const config = "packagefile main=/x\nmodinfo \"0123456789abcdefpath\\texample.com/m\\nmod\\texample.com/m\\t(devel)\\t\\nbuild\\tGOOS=linux\\nfedcba9876543210\"\npackagefile y=/y\n"
	recorded := recipe.Recorded{Version: "v1.5.0", Sum: "h1:x", Settings: []string{"vcs=git", "vcs.modified=false"}}
	got, err := stampImportConfig([]byte(config), recorded)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(config, `(devel)\t\nbuild\tGOOS=linux\n`, `v1.5.0\th1:x\nbuild\tGOOS=linux\nbuild\tvcs=git\nbuild\tvcs.modified=false\n`, 1)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, bad := range []string{"", "packagefile a=/a\n", "modinfo \"short\"\n", "modinfo 0123456789abcdefpath\n", strings.Replace(config, `mod\t`, `mod\tx\ty\tz\t`, 1)} {
		if got, err := stampImportConfig([]byte(bad), recorded); err == nil {
			t.Errorf("%q becomes %q, want an error", bad, got)
		}
	}
	file := filepath.Join(t.TempDir(), "importcfg.link")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args, err := stampArgs([]string{"-importcfg", file, "-s"}, recorded)
	if err != nil || args[1] != file+".twin" {
		t.Errorf("arguments %q, error %v", args, err)
	}
	if _, err := stampArgs([]string{"-s"}, recorded); err == nil {
		t.Error("without -importcfg: no error")
	}
}

// TestLefthook builds the twin of an official release of another project, lefthook 2.1.6
// for npm. It was built in a clone, whose tag and commit it records. The workspace is the
// published module, not a clone.
func TestLefthook(t *testing.T) {
	testenv.SecondTier(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "dapbridge-test", "lefthook-2.1.6", "package", "bin", "lefthook") // by .ci/modules
	if _, err := os.Stat(path); err != nil {
		testenv.Skipf(t, "lefthook has not been fetched: run .ci/modules all: %v", err)
	}
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	workspace := filepath.Join(strings.TrimSpace(string(out)), "github.com", "evilmartians", "lefthook", "v2@v2.1.6")
	file := checkTwin(t, openOriginal(t, path), workspace)
	testenv.Equal(t, "the source", file.Source, "the published version github.com/evilmartians/lefthook/v2@v2.1.6")
}
