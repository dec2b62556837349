// Package twin builds, on the host, the twin of a stripped executable that runs on a
// node: the same program with debug information. Everything that is loaded is equal
// byte for byte, so the twin's debug sections are valid for the executable. If C code was
// compiled differently, that holds for the Go part, except for addresses (package gopart).
//
// An executable contains the directories it was built in: in the function table,
// whose size moves everything after it. So the go command runs with this program as
// its -toolexec ([RunTool]), which gives the compiler and the assembler additional
// -trimpath rules, one for each directory, and keeps the linker from stripping. The
// recorded flags stay unchanged.
package twin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gocmd"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/host/symbols/gopart"
)

// Builder builds twins. Its methods may be called by several goroutines and
// processes; builds of the same module wait for each other.
type Builder struct {
	Dir      string       // holds the debug files and a build cache; created if needed
	Env      []string     // the user's environment
	ToolExec []string     // the command that runs [RunTool]; --map flags and the tool are appended
	LDFlags  string       // the user's linker flags, for an executable that does not record its own
	Progress func(Step)   // is called with the progress, by one goroutine at a time; may be nil
	Log      *slog.Logger // not nil
}

// Step is the progress of a build.
type Step struct {
	Phase       string // Sources, Packages or Proof
	Done, Total int    // packages; both are 0 in other phases
}

// The phases of a build.
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

// Times holds the durations of a build's phases.
type Times struct {
	Sources time.Duration `json:"sources"`
	Build   time.Duration `json:"build"`
	Proof   time.Duration `json:"proof"`
}

// Build builds the twin of an executable by its recipe, proves that it is the same
// program and stores its debug information until [Builder.Remove]. The source is in
// dir, or in the repository around it; dir is only read. The error's code is
// diag.TwinBuild or diag.TwinDiffers; nothing is left behind then.
func (b *Builder) Build(ctx context.Context, r *recipe.Recipe, dir string, o Original) (*DebugFile, error) {
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
	if err := removeAll(work); err != nil { // left by a killed build
		return nil, diag.Errorf(diag.WriteFailed, "%w", err)
	}
	defer removeAll(work)
	j := &job{Builder: b, recipe: r, dir: dir, work: work, original: o, ldflags: b.LDFlags}
	file, err := j.run(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return file, err
}

// workName returns the name of the directory in which a program is built. It is the
// same for all builds of a module, since the build cache's keys include the
// directories in a package's file names.
func workName(r *recipe.Recipe) string {
	sum := sha256.Sum256([]byte(r.Source.Module))
	return hex.EncodeToString(sum[:8])
}

// job is one build.
type job struct {
	*Builder
	recipe   *recipe.Recipe // with the source that is tried
	dir      string         // the user's directory
	work     string         // our working directory
	original Original

	ldflags     string // the user's, or recovered from the target
	relocations bool   // the twin is linked with its relocations, and compared by its Go part

	goCommand gocmd.Go // with the target's toolchain
	times     Times

	placement *gopart.Placement // of a target whose C code differs from the twin's
}

// prepare finds the toolchain.
func (j *job) prepare(ctx context.Context) error {
	tmp := filepath.Join(j.work, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return buildError("%w", err)
	}
	variables := append([]string{"GOCACHE=" + filepath.Join(j.Dir, "gocache"), "GOTMPDIR=" + tmp}, j.recipe.Env...)
	command, err := gocmd.New(ctx, j.Env, j.recipe.Toolchain, j.work, variables...)
	switch {
	case errors.Is(err, gocmd.ErrNoGo):
		return buildError("%w: building symbols needs the Go toolchain", err)
	case errors.Is(err, gocmd.ErrNoToolchain):
		return buildError("the target was built by %s: %w", j.recipe.Toolchain, err)
	case err != nil:
		return buildError("%w", err)
	case command.Version != j.recipe.Toolchain:
		return buildError("the target was built by %s, but the go command provides %s", j.recipe.Toolchain, command.Version)
	}
	j.goCommand = *command
	return nil
}

// run builds the twin from one source after the other, until one is proved.
func (j *job) run(ctx context.Context) (*DebugFile, error) {
	start := time.Now()
	if err := j.prepare(ctx); err != nil {
		return nil, err
	}
	prepared := time.Since(start)
	var failures []failure
	for _, s := range j.sources() {
		try := *j
		try.recipe, try.times.Sources = j.recipe.WithSource(s), prepared
		file, err := try.build(ctx)
		if err == nil {
			return file, nil
		}
		if code := diag.CodeOf(err); ctx.Err() != nil || code != diag.TwinBuild && code != diag.TwinDiffers {
			return nil, err
		}
		j.Log.Info("the symbols cannot be built from this source", "source", s.String(), "reason", err)
		failures = append(failures, failure{s, err})
	}
	return nil, joinFailures(failures)
}

// build builds the twin from the recipe's source.
func (j *job) build(ctx context.Context) (*DebugFile, error) {
	start := time.Now()
	j.report(Step{Phase: Sources})
	src, err := j.prepareSource(ctx)
	if err != nil {
		return nil, err
	}
	j.times.Sources += time.Since(start)

	want, out, err := j.buildAndProve(ctx, src)
	if diag.CodeOf(err) == diag.TwinDiffers && !j.recipe.LinkFlags && j.LDFlags == "" && want.Arch == "amd64" {
		flags, recoverErr := recoverLinkFlags(ctx, out, j.original)
		if recoverErr != nil {
			return nil, recoverErr
		}
		if flags != "" {
			j.Log.Info("linking again with linker flags recovered from the target", "ldflags", flags)
			j.ldflags = flags
			want, out, err = j.buildAndProve(ctx, src)
		}
	}
	if err != nil {
		return nil, err
	}
	return j.store(want, out)
}

// buildAndProve returns the target's fingerprint and the path of what was built; the
// path is valid too if the error's code is diag.TwinDiffers. If the two programs differ
// although their Go functions have the same names and sizes, and C code is linked in, it
// compares the Go parts alone.
func (j *job) buildAndProve(ctx context.Context, src source) (want exe.Fingerprint, out string, err error) {
	want, out, err = j.buildAndCompare(ctx, src)
	if diag.CodeOf(err) != diag.TwinDiffers || j.relocations {
		return want, out, err
	}
	if ok, shapesErr := mayDifferInC(ctx, out, j.original); !ok || shapesErr != nil {
		return want, out, errors.Join(err, shapesErr)
	}
	j.Log.Info("the twin differs, but not in the names and sizes of its Go functions: comparing the Go parts alone")
	j.relocations = true
	return j.buildAndCompare(ctx, src)
}

func (j *job) buildAndCompare(ctx context.Context, src source) (want exe.Fingerprint, out string, err error) {
	start := time.Now()
	if out, err = j.compile(ctx, src); err != nil {
		return want, "", err
	}
	j.times.Build += time.Since(start)
	start = time.Now()
	j.report(Step{Phase: Proof})
	if want, err = j.original.Fingerprint(ctx); err == nil {
		err = j.prove(ctx, want, out)
	}
	j.times.Proof += time.Since(start)
	return want, out, err
}

// Original is the executable on the node whose twin is built. Its answers are not
// trusted.
type Original interface {
	Fingerprint(ctx context.Context) (exe.Fingerprint, error)
	Blocks(ctx context.Context, r exe.Range) ([]byte, error)
	Content(ctx context.Context, r exe.Range) ([]byte, error)
	Shapes(ctx context.Context) ([]byte, error)
	Function(ctx context.Context, index uint64) (exe.Function, error)
	Words(ctx context.Context, offsets []uint64) ([]uint32, error)
	Strings(ctx context.Context, addrs []uint64) ([]exe.Text, error)
}

// removeAll is os.RemoveAll for a tree that may contain read-only directories, as
// the module cache does.
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

// buildError returns an error with the code diag.TwinBuild.
func buildError(format string, args ...any) error {
	return diag.Errorf(diag.TwinBuild, format, args...)
}
