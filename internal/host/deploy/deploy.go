// Package deploy replaces the target with a debug build: [Builder] builds it on the host,
// with the go command or with a command that the user gives, and [Run] makes the node
// swap the executable. [Restore] undoes this.
package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// Builder makes debug builds. It leaves the result in a directory for the workspace and
// program, so that a build without changes does not link again. It also keeps the last
// few builds, see [Builder.OpenKept].
type Builder struct {
	Dir     string    // private to the user; created if needed
	Env     []string  // the user's environment
	Command string    // a shell command to run instead of the go command, see Build
	Out     io.Writer // receives the output of builds
}

// Artifact is a debug build that can be deployed.
type Artifact struct {
	Path   string        `json:"path"`
	SHA256 string        `json:"sha256"`
	Size   int64         `json:"size"`
	Needs  exe.Needs     `json:"needs"` // the libraries that it needs on the node
	Took   time.Duration `json:"took"`  // ns
}

// Build builds the program from the source in dir, which is also the working directory of
// the build. A Command finds the platform in GOOS and GOARCH, and in OUT the path that it
// must write the executable to. The error's code is diag.DeployBuild or
// diag.DeploySource; the compiler's messages have then been written to Out.
func (b *Builder) Build(ctx context.Context, d *recipe.Debug, dir string) (*Artifact, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(dir + "\x00" + d.Package + "\x00" + d.Arch))
	own := filepath.Join(b.Dir, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(own, "lock")).Lock()
	if err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	defer unlock()
	out := filepath.Join(own, filepath.Base(d.Package))
	start := time.Now()
	if b.Command != "" {
		err = b.runCommand(ctx, d, dir, out)
	} else {
		err = b.goBuild(ctx, d, dir, out)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	built, err := inspect(out, d.Arch)
	if err != nil {
		return nil, err
	}
	built.Took = time.Since(start)
	b.keep(built)
	return built, nil
}

// inspect refuses a build that would not run on the node or could not be debugged.
func inspect(path, arch string) (*Artifact, error) {
	x, err := exe.Open(path)
	if err != nil {
		return nil, diag.Errorf(diag.DeployBuild, "inspect the build: %w", err)
	}
	defer x.Close()
	info, err := x.Build()
	switch {
	case err != nil:
		return nil, diag.Errorf(diag.DeployBuild, "inspect the build: %w", err)
	case info.Arch != arch:
		return nil, diag.Errorf(diag.DeployBuild, "the build is for %s, but the node is %s", info.Arch, arch).
			WithHint("make the --build command use GOOS and GOARCH")
	case info.Stripped:
		return nil, diag.Errorf(diag.DeployBuild, "the build has no debug information").
			WithHint("remove -s and -w from the linker flags")
	}
	stat, err := x.Stat()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(x, 0, stat.Size()))
	if err != nil {
		return nil, err
	}
	needs, err := x.Needs()
	if err != nil {
		return nil, diag.Errorf(diag.DeployBuild, "inspect the build: %w", err)
	}
	return &Artifact{Path: path, SHA256: hex.EncodeToString(h.Sum(nil)), Size: n, Needs: needs}, nil
}
