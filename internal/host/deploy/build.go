package deploy

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/procgroup"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
)

// goBuild runs the user's go command with the user's settings in dir. go build does
// not touch an up-to-date file.
func (b *Builder) goBuild(ctx context.Context, d *recipe.Debug, dir, out string) error {
	tool, err := exec.LookPath("go") // refuses one in the current directory
	if err != nil {
		return diag.Errorf(diag.DeployBuild, "no go command on the PATH").WithHint("install Go, or give another build command with --build")
	}
	if err := b.checkSource(ctx, tool, d, dir); err != nil {
		return err
	}
	// To stamp the commit, go would run git, and git would run programs that the
	// configuration of an untrusted repository names.
	args := slices.Concat([]string{"build", "-buildvcs=false", "-o", out}, d.Flags, []string{"--", d.Package})
	return b.runBuild(ctx, dir, d.Env, tool, args...)
}

// checkSource refuses a directory outside of the target's main module: the go command
// would build the package from its module cache and ignore the user's edits.
func (b *Builder) checkSource(ctx context.Context, tool string, d *recipe.Debug, dir string) error {
	cmd := procgroup.Command(ctx, tool, "list", "-buildvcs=false", "-find", "-f", "{{with .Module}}{{.Main}}{{end}}", "--", d.Package)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	cmd.Env = slices.Concat(b.Env, d.Env, []string{"PWD=" + dir})
	main, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return diag.Errorf(diag.DeploySource, "%s cannot be built in %s: %s", d.Package, dir, lastLine(stderr.String()))
	case strings.TrimSpace(string(main)) != "true":
		return diag.Errorf(diag.DeploySource, "%s is not in the main module of %s", d.Package, dir)
	}
	return nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// runCommand runs the user's build command. It first removes the output of the last
// run, so that a command that writes nothing fails.
func (b *Builder) runCommand(ctx context.Context, d *recipe.Debug, dir, out string) error {
	if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
		return diag.Errorf(diag.WriteFailed, "%w", err)
	}
	env := []string{"GOOS=linux", "GOARCH=" + d.Arch, "OUT=" + out}
	if err := b.runBuild(ctx, dir, env, "sh", "-c", b.Command); err != nil {
		return err
	}
	if _, err := os.Stat(out); err != nil {
		return diag.Errorf(diag.DeployBuild, "the --build command wrote no file").
			WithHint(`it must write the executable to "$OUT": --build 'make bin/containerd && cp bin/containerd "$OUT"'`)
	}
	return nil
}

// runBuild runs a build command, whose output goes to b.Out.
func (b *Builder) runBuild(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := procgroup.Command(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, b.Out, b.Out
	cmd.Env = slices.Concat(b.Env, env, []string{"PWD=" + dir})
	if err := cmd.Run(); err != nil {
		return diag.Errorf(diag.DeployBuild, "the build failed: %w", err)
	}
	return nil
}
