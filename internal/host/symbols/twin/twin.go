// Package twin builds, on the host, the twin of a stripped executable that runs
// on a node: the same program, byte for byte where it is loaded, but with the
// debug information. Its debug sections are then as good as the executable's
// own.
//
// Where it was built stands in an executable: in the function table, whose size
// moves all that follows. So the go command runs with this program as its
// -toolexec ([Tool]), which gives the compiler and the assembler one more
// -trimpath rule for each directory, and keeps the linker from stripping; the
// flags that are recorded stay as they were.
package twin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// Builder builds twins. Its methods may be called from several goroutines and
// processes: one build at a time works on a directory of source.
type Builder struct {
	Dir      string       // keeps finished twins, and a build cache; made if need be
	Env      []string     // the user's environment
	ToolExec []string     // the command that runs [Tool], to which --map flags and the tool are added
	LDFlags  string       // the linker's flags, where the executable does not say them; the user's own
	Progress func(Step)   // told what happens, from one goroutine at a time; may be nil
	Log      *slog.Logger // not nil
}

// Step says how far a build is.
type Step struct {
	Phase       string // one of the constants
	Done, Total int    // packages; 0 of 0 if there is nothing to count
}

// What a build is at.
const (
	Sources  = "sources"
	Packages = "packages"
	Proof    = "proof"
)

func (b *Builder) report(s Step) {
	if b.Progress != nil {
		b.Progress(s)
	}
}

// Times says how long the parts of a build took.
type Times struct {
	Sources time.Duration `json:"sources"`
	Build   time.Duration `json:"build"`
	Proof   time.Duration `json:"proof"`
}

// Build builds the twin of the suspect by its recipe and proves that it is one,
// with the source in or found through dir, which is only read. What it returns
// is kept until [Builder.Remove]. The error's code is diag.TwinBuild or
// diag.TwinDiffers, and nothing is left then.
func (b *Builder) Build(ctx context.Context, r *recipe.Recipe, dir string, s Original) (*DebugFile, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	work := filepath.Join(b.Dir, "work", workName(r))
	if err := os.MkdirAll(filepath.Dir(work), 0o700); err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	unlock, err := lockedfile.MutexAt(work + ".lock").Lock()
	if err != nil {
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	defer unlock()
	if err := removeAll(work); err != nil { // what a killed build left
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	defer removeAll(work)
	j := &job{Builder: b, recipe: r, dir: dir, work: work, original: s, ldflags: b.LDFlags}
	kept, err := j.run(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return kept, err
}

// workName names the directory in which a program is built. It is always the
// same for one module, since the build cache keeps packages by the directories
// that stand in them.
func workName(r *recipe.Recipe) string {
	sum := sha256.Sum256([]byte(r.Source.Module))
	return hex.EncodeToString(sum[:8])
}

// job is one build.
type job struct {
	*Builder
	recipe   *recipe.Recipe
	dir      string // the user's
	work     string // ours
	original Original

	ldflags string // as given, or as found in the target

	goTool string
	env    []string // of the go command
	goroot string   // of the toolchain
	cache  string   // GOMODCACHE
	times  Times
}

func (j *job) run(ctx context.Context) (*DebugFile, error) {
	start := time.Now()
	j.report(Step{Phase: Sources})
	if err := j.prepare(ctx); err != nil {
		return nil, err
	}
	src, err := j.prepareSource(ctx)
	if err != nil {
		return nil, err
	}
	j.times.Sources = time.Since(start)

	want, out, err := j.buildAndProve(ctx, src)
	if diag.CodeOf(err) == diag.TwinDiffers && !j.recipe.LinkFlags && j.LDFlags == "" && want.Arch == "amd64" {
		flags, findErr := recoverLinkFlags(ctx, out, j.original)
		if findErr != nil {
			return nil, findErr
		}
		if flags != "" {
			j.Log.Info("linking again with what the target shows of its flags", "ldflags", flags)
			j.ldflags = flags
			want, out, err = j.buildAndProve(ctx, src)
		}
	}
	if err != nil {
		return nil, err
	}
	return j.store(want, out, j.times)
}

// buildAndProve returns the target's fingerprint and the twin's path, the
// latter also with the error that it is none.
func (j *job) buildAndProve(ctx context.Context, src source) (want exe.Fingerprint, out string, err error) {
	start := time.Now()
	if out, err = j.compile(ctx, src); err != nil {
		return want, "", err
	}
	j.times.Build += time.Since(start)
	start = time.Now()
	j.report(Step{Phase: Proof})
	if want, err = j.original.Fingerprint(ctx); err == nil {
		err = prove(ctx, want, out, j.original, j.recipe)
	}
	j.times.Proof += time.Since(start)
	return want, out, err
}

// Suspect is an executable on the node, as it can be asked from here. What it
// says may be made up.
type Original interface {
	Fingerprint(ctx context.Context) (exe.Fingerprint, error)
	Blocks(ctx context.Context, r exe.Range) ([]byte, error)
	Shapes(ctx context.Context) ([]byte, error)
	Function(ctx context.Context, index uint64) (exe.Function, error)
	Words(ctx context.Context, offsets []uint64) ([]uint32, error)
	Strings(ctx context.Context, addrs []uint64) ([]exe.Text, error)
}

// removeAll is os.RemoveAll for a tree with directories that may not be
// written to, as the module cache's are.
func removeAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// failed is a build's end for a reason that the user should see.
func buildError(format string, args ...any) error {
	return diag.Errorf(diag.TwinBuild, format, args...)
}

// lastLines returns the end of what a command said, as one line.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

var errNoGo = errors.New("there is no go command on the PATH")
