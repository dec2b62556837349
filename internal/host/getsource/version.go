package getsource

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/gocmd"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// markFile is a file in a copy of a published version that shows that it is ours. The go
// command ignores files with such names.
const markFile = ".dapbridge-source"

// mark is the content of markFile.
type mark struct {
	Module   string `json:"module"`
	Version  string `json:"version"`
	Vendored bool   `json:"vendored,omitempty"`
}

// getVersion makes a writable copy of the published version.
func (c Config) getVersion(ctx context.Context, r *recipe.Recipe) (*Result, error) {
	m := module.Version{Path: r.Source.Module, Version: r.Source.Version}
	workspace, err := c.workspace(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := c.place(workspace, versionName(m))
	if err != nil {
		return nil, err
	}
	want := mark{m.Path, m.Version, r.Vendored}
	if have, err := readMark(dir); err == nil && have == want {
		return &Result{Dir: dir}, nil
	}
	if err := checkFree(dir); err != nil {
		return nil, err
	}
	toolchain := "local"
	if r.Vendored && isRelease(r.Toolchain) {
		toolchain = r.Toolchain
	}
	command, err := gocmd.New(ctx, c.Env, toolchain, os.TempDir())
	if err != nil {
		return nil, unavailableError{err}
	}
	if rel, err := filepath.Rel(realPath(command.Cache), realPath(dir)); err == nil && filepath.IsLocal(rel) {
		return nil, diag.Errorf(diag.SourceExists, "the workspace %s is in the module cache, where nothing else may be", workspace).
			WithHint("name a directory for the source with --to")
	}
	return c.copyVersion(ctx, command, r, m, dir, want)
}

// isRelease reports whether a toolchain can be downloaded: the go command would look for
// any other name on the PATH.
func isRelease(toolchain string) bool {
	return regexp.MustCompile(`^go1\.(2[1-9]|[3-9][0-9])(\.[0-9]{1,3}|rc[0-9]{1,2})$`).MatchString(toolchain)
}

// workspace returns the root of the workspace: of its repository, or else of its module.
func (c Config) workspace(ctx context.Context) (string, error) {
	if repository, err := c.repository(ctx); err == nil && repository != nil {
		return repository.Top, nil
	}
	if m, err := gosource.Find(c.Root); err == nil {
		return m.Root, nil
	}
	return filepath.Abs(c.Root)
}

// versionName returns the name of the directory for a module, such as containerd@v2.4.2.
func versionName(m module.Version) string {
	prefix, _, _ := module.SplitPathVersion(m.Path)
	return path.Base(prefix) + "@" + m.Version
}

func readMark(dir string) (mark, error) {
	text, err := os.ReadFile(filepath.Join(dir, markFile))
	if err != nil {
		return mark{}, err
	}
	var have mark
	err = json.Unmarshal(text, &have)
	return have, err
}

// copyVersion copies the module to a temporary directory beside dir, and renames it when
// it is complete.
func (c Config) copyVersion(ctx context.Context, command *gocmd.Go, r *recipe.Recipe, m module.Version, dir string, want mark) (result *Result, err error) {
	text, err := json.Marshal(want)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err).WithHint("name a directory with --to")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	src := filepath.Join(tmp, "src")
	c.step("copying %s", r.Source)
	if err := c.fetch(ctx, command, r, m, src); err != nil {
		return nil, err
	}
	err = os.WriteFile(filepath.Join(src, markFile), append(text, '\n'), 0o666)
	if err == nil {
		err = checkFree(dir)
	}
	if err == nil {
		err = os.Rename(src, dir)
	}
	if err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	return &Result{Dir: dir, Created: true}, nil
}

// fetch writes the module to src, with its dependencies vendored if those of the build
// were.
func (c Config) fetch(ctx context.Context, command *gocmd.Go, r *recipe.Recipe, m module.Version, src string) error {
	if err := command.CopyModule(ctx, m, src); err != nil {
		return unavailableError{err}
	}
	if want := r.Recorded.Sum; want != "" {
		if sum, err := command.Sum(m); err != nil || sum != want {
			return unavailable("its checksum is %q, but the target records %s", sum, want)
		}
	}
	if r.Vendored {
		c.step("vendoring its dependencies")
		if err := command.Vendor(ctx, src); err != nil {
			return unavailableError{err}
		}
	}
	return nil
}
