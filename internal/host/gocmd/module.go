package gocmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// ModuleDir returns a module's directory in the module cache, which need not exist.
func (g *Go) ModuleDir(m module.Version) (string, error) {
	path, err := module.EscapePath(m.Path)
	if err != nil {
		return "", err
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return "", err
	}
	return filepath.Join(g.Cache, filepath.FromSlash(path+"@"+version)), nil
}

// downloaded returns the path of a file that the go command keeps beside a module's zip
// file, given its extension (go.dev/ref/mod, "module cache").
func (g *Go) downloaded(m module.Version, extension string) (string, error) {
	dir, err := g.ModuleDir(m)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(g.Cache, dir)
	if err != nil {
		return "", err
	}
	path, version, _ := strings.Cut(rel, "@")
	return filepath.Join(g.Cache, "cache", "download", path, "@v", version+extension), nil
}

// HasModule reports whether the module cache has a module, completely
// (cmd/go/internal/modfetch, DownloadDir).
func (g *Go) HasModule(m module.Version) bool {
	dir, err := g.ModuleDir(m)
	if err != nil {
		return false
	}
	partial, err := g.downloaded(m, ".partial")
	if err != nil {
		return false
	}
	if _, err := os.Lstat(partial); err == nil {
		return false
	}
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// Sum returns the checksum of a module in the module cache, in the form of go.sum.
func (g *Go) Sum(m module.Version) (string, error) {
	name, err := g.downloaded(m, ".ziphash")
	if err != nil {
		return "", err
	}
	sum, err := os.ReadFile(name)
	return strings.TrimSpace(string(sum)), err
}

// CopyModule writes a writable copy of a module to dir, which must not exist. It
// downloads the module if the cache lacks it.
func (g *Go) CopyModule(ctx context.Context, m module.Version, dir string) error {
	from, err := g.ModuleDir(m)
	if err != nil {
		return err
	}
	if !g.HasModule(m) {
		if err := g.download(ctx, m); err != nil {
			return err
		}
	}
	return CopyTree(ctx, from, dir, "")
}

// download downloads a module in a temporary directory, so that no go.mod of the user's
// is read or changed.
func (g *Go) download(ctx context.Context, m module.Version) (err error) {
	tmp, err := os.MkdirTemp("", "dapbridge-fetch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := os.WriteFile(filepath.Join(tmp, "go.mod"), []byte("module dapbridge.invalid/fetch\n"), 0o600); err != nil {
		return err
	}
	if _, err := g.Run(ctx, tmp, "mod", "download", m.String()); err != nil {
		return fmt.Errorf("go mod download %s: %w", m, err)
	}
	return nil
}

// Vendor makes the vendor directory of the module in dir, which published versions lack.
func (g *Go) Vendor(ctx context.Context, dir string) error {
	if _, err := g.Run(ctx, dir, "mod", "vendor"); err != nil {
		return fmt.Errorf("go mod vendor: %w", err)
	}
	return nil
}

// FindModule returns the root of the module in a tree, the nearest to the top.
func FindModule(tree, path string) (string, error) {
	found := ""
	err := filepath.WalkDir(tree, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "vendor" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.Name() != "go.mod" || !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(file)
		if err == nil && modfile.ModulePath(data) == path && (found == "" || len(file) < len(found)) {
			found = file
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("the commit does not contain module %s", path)
	}
	if err != nil {
		return "", err
	}
	return filepath.Dir(found), nil
}

// CopyTree copies the directory from to the directory to, which must not exist, without
// .git and the directory except. The copy is writable. Entries other than directories,
// regular files and symbolic links are left out, since they cannot be source.
func CopyTree(ctx context.Context, from, to, except string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if path == except || d.Name() == ".git" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		return copyEntry(path, filepath.Join(to, rel), d)
	})
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// copyEntry copies a directory entry: a directory without its content, a symbolic link
// as a link, a regular file.
func copyEntry(from, to string, d fs.DirEntry) error {
	switch kind := d.Type(); {
	case kind.IsDir():
		return os.MkdirAll(to, 0o777)
	case kind&fs.ModeSymlink != 0:
		dest, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(dest, to)
	case !kind.IsRegular():
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
