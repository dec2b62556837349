// Package deploy builds a target on the host for a debugger: by the go command,
// or by any command of the user's. It knows no node.
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

// Builder builds. The result stays in its directory, one for each workspace and
// program: what is built again without a change is not linked again. The last
// ones are kept, see [Builder.Kept].
type Builder struct {
	Dir     string    // this user's own; made if need be
	Env     []string  // the user's environment
	Command string    // in place of the go command: a line for sh, see Build
	Out     io.Writer // what a build says goes here, as it says it
}

// Built is a build that can be deployed.
type Artifact struct {
	Path   string        `json:"path"`
	SHA256 string        `json:"sha256"`
	Size   int64         `json:"size"`
	Needs  exe.Needs     `json:"needs"` // of the node's libraries
	Took   time.Duration `json:"took"`  // ns
}

// Build builds the program from the source in dir, which is where the build
// runs. A Command finds the platform in GOOS and GOARCH, and in OUT the path of
// the executable that it is to write. The error's code is diag.DeployBuild or
// diag.DeploySource; what the compiler says has been written to Out by then.
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

// inspect refuses what would not run there, or could not be debugged.
func inspect(path, arch string) (*Artifact, error) {
	x, err := exe.Open(path)
	if err != nil {
		return nil, diag.Errorf(diag.DeployBuild, "what was built: %w", err)
	}
	defer x.Close()
	info, err := x.Build()
	switch {
	case err != nil:
		return nil, diag.Errorf(diag.DeployBuild, "what was built: %w", err)
	case info.Arch != arch:
		return nil, diag.Errorf(diag.DeployBuild, "what was built is for %s, the node is %s", info.Arch, arch).
			WithHint("have the command of --build heed GOOS and GOARCH")
	case info.Stripped:
		return nil, diag.Errorf(diag.DeployBuild, "what was built carries no debug information").
			WithHint("leave out -s and -w of the linker's flags")
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
		return nil, diag.Errorf(diag.DeployBuild, "what was built: %w", err)
	}
	return &Artifact{Path: path, SHA256: hex.EncodeToString(h.Sum(nil)), Size: n, Needs: needs}, nil
}
