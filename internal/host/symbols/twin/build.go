package twin

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dapbridge/dapbridge/internal/host/procgroup"
)

// compile runs go build and returns the path of the twin.
func (j *job) compile(ctx context.Context, src source) (string, error) {
	toolexec, err := toolexecValue(j.ToolExec, Changes{
		Rules: j.rules(src), GOROOT: j.recipe.Roots.GOROOT, Stamp: j.recipe.Stamp(), Relocations: j.relocations,
	})
	if err != nil {
		return "", err
	}
	flags := j.flags()
	list, err := j.goCommand.Run(ctx, src.dir, slices.Concat([]string{"list", "-deps"}, listFlags(flags), []string{"--", j.recipe.Package})...)
	if err != nil {
		return "", buildError("list the packages of %s: %w", j.recipe.Package, err)
	}
	total := bytes.Count(list, []byte("\n"))
	out := filepath.Join(j.work, "twin")
	counter := &packageCounter{onPackage: func(done int) { j.report(Step{Packages, done, total}) }}
	counter.onPackage(0)
	args := slices.Concat([]string{"build", "-v", "-toolexec=" + toolexec, "-o", out}, flags, []string{"--", j.recipe.Package})
	j.Log.Debug("building the twin", "dir", src.dir, "args", args)
	cmd := procgroup.Command(ctx, j.goCommand.Tool, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = src.dir, append(slices.Clone(j.goCommand.Env), "PWD="+src.dir), counter, counter
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", buildError("go build %s: %w: %s", j.recipe.Package, err, procgroup.LastLines(counter.rest.String(), 5))
	}
	return out, nil
}

// flags returns the flags of go build.
func (j *job) flags() []string {
	flags := j.recipe.BuildFlags()
	if j.ldflags != "" && !j.recipe.LinkFlags {
		flags = append(flags, "-ldflags="+j.ldflags)
	}
	return flags
}

// listFlags returns those of the flags that decide which packages are built.
func listFlags(flags []string) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(f string) bool {
		return !strings.HasPrefix(f, "-mod=") && !strings.HasPrefix(f, "-tags=") && !strings.HasPrefix(f, "-race=")
	})
}

// rules returns the -trimpath rules that replace directories of the host with those
// of the build machine. The first rule that matches wins; GOROOT is the first since
// it may be below GOMODCACHE.
func (j *job) rules(src source) []string {
	roots := j.recipe.Roots
	var rules []string
	add := func(hostDir, buildDir string) {
		if hostDir != "" && buildDir != "" && hostDir != buildDir {
			rules = append(rules, hostDir+"=>"+buildDir)
		}
	}
	add(j.goCommand.GOROOT, roots.GOROOT)
	add(src.module, roots.Module)
	if rel, err := filepath.Rel(src.tree, src.module); err == nil && src.tree != "" && rel != "." {
		buildTree, _ := strings.CutSuffix(roots.Module, "/"+filepath.ToSlash(rel))
		add(src.tree, buildTree) // for modules beside this one
	}
	add(j.goCommand.Cache, roots.ModCache)
	return rules
}

// packageCounter is a writer that counts the packages that go build -v prints and
// keeps the rest of its output.
type packageCounter struct {
	onPackage func(done int)
	line      []byte
	done      int
	rest      bytes.Buffer
}

// maxRestSize bounds the output that is kept, in bytes.
const maxRestSize = 64 << 10

func (c *packageCounter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' {
			if len(c.line) < 4<<10 {
				c.line = append(c.line, b)
			}
			continue
		}
		// Import paths contain neither blanks nor colons; messages do.
		if len(c.line) > 0 && !bytes.ContainsAny(c.line, " :#\t") {
			c.done++
			c.onPackage(c.done)
		} else if c.rest.Len() < maxRestSize {
			c.rest.Write(append(c.line, '\n'))
		}
		c.line = c.line[:0]
	}
	return len(p), nil
}
