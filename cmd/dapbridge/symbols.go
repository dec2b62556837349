package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/recipe"
	"github.com/dapbridge/dapbridge/internal/host/remote"
	"github.com/dapbridge/dapbridge/internal/host/symbols"
	"github.com/dapbridge/dapbridge/internal/host/symbols/twin"
)

type symbolsOptions struct {
	nodeFlags
	ldflags string
	print   bool
	remove  bool
	output  outputFlag
}

func newSymbols(env environment) *cobra.Command {
	var o symbolsOptions
	cmd := withConfig(&cobra.Command{
		Use:   "symbols [DIR]",
		Short: "Build the symbols of a stripped target",
		Long: `Make a stripped target debuggable without changing it: read on the node how it was
built, build a twin, an unstripped copy of the same program, on this machine, and
compare the two. If they are identical, byte for byte in everything that is loaded,
upload the twin's debug information to the node, where dapbridge serve uses it. If
not, report the first difference and upload nothing. C code may differ, since it
depends on the C compiler: then Go's part must be identical but for addresses.

The source is the commit that the target's build information names, from the git
repository in DIR (by default this directory); or the published version that it
names, from the module cache or your proxy; or DIR as it is. They are tried in turn,
the cheapest first, until one yields the target. DIR is only read. The twin is built
with the target's version of the Go toolchain, which the go command downloads if
necessary. The result is cached.`,
		Example: `  dapbridge symbols                                   # containerd in minikube, its repository in this directory
  dapbridge symbols ~/src/kubernetes --target kubelet
  dapbridge symbols --print                           # how it was built, as a shell command
  dapbridge symbols --ldflags "-X main.version=v1.2"  # for a target built with -trimpath, which does not record them
  dapbridge symbols --remove                          # from the node and from this machine`,
		Args:    oneDirectory,
		PreRunE: setRootFromArgument,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runSymbols(cmd, env, o) },
	}, env)
	o.nodeFlags.add(cmd, env)
	cmd.Flags().Lookup("root").Hidden = true // here it is the argument
	textFlag(cmd, env, &o.ldflags, "ldflags")
	cmd.Flags().BoolVar(&o.print, "print", false, "print the build as a shell command instead of running it")
	cmd.Flags().BoolVar(&o.remove, "remove", false, "remove all symbols from the node, and everything cached to build them on this machine")
	cmd.MarkFlagsMutuallyExclusive("print", "remove")
	o.output.add(cmd)
	return cmd
}

func runSymbols(cmd *cobra.Command, env environment, o symbolsOptions) error {
	if err := o.output.check(); err != nil {
		return err
	}
	c, err := o.config(env)
	if err != nil {
		return err
	}
	c.symbols.Twins.LDFlags = o.ldflags
	c.symbols.Twins.Progress = env.twinProgress()
	if o.remove {
		return removeSymbols(cmd, env, c, o.output)
	}
	build := symbols.Build
	if o.print {
		build = symbols.Explain
	}
	r, err := build(cmd.Context(), c.link, c.symbols)
	switch {
	case err != nil:
		return err
	case o.output == "json":
		return printJSON(env.out, r)
	case o.print:
		return printRecipe(env.out, c, r, o.ldflags)
	}
	printSymbols(env.out, c, r)
	return nil
}

func removeSymbols(cmd *cobra.Command, env environment, c nodeConfig, output outputFlag) error {
	r, err := symbols.Remove(cmd.Context(), c.link, c.symbols)
	if err != nil {
		return err
	}
	if output == "json" {
		return printJSON(env.out, r)
	}
	_, err = fmt.Fprintf(env.out, "removed %d files (%s) from %s, and the cache on this machine\n", r.Files, formatMegabytes(r.Bytes), c.link.SSH.Node.Name)
	return err
}

// printRecipe prints the recipe as a script. Linker flags that the target does not
// record are the given ones, or those found by an earlier build.
func printRecipe(w io.Writer, c nodeConfig, r *symbols.Result, ldflags string) error {
	if ldflags == "" && r.Kept != nil {
		ldflags = r.Kept.LDFlags
	}
	text, err := r.Recipe.ShellScript(c.source.Root, ldflags, remote.Quote)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

func printSymbols(w io.Writer, c nodeConfig, r *symbols.Result) {
	t := r.Target
	what := fmt.Sprintf("%s on %s (pid %d)", diag.EscapeLine(path.Base(t.Exe)), c.link.SSH.Node.Name, t.PID)
	if r.Needless {
		fmt.Fprintf(w, "%s has debug information: nothing to do\n", what)
		return
	}
	if r.Built {
		times := r.Kept.Times
		fmt.Fprintf(w, "built the symbols of %s from %s: source %s, build %s, proof %s\n", what, r.Kept.Source, formatSeconds(times.Sources), formatSeconds(times.Build), formatSeconds(times.Proof))
	} else {
		fmt.Fprintf(w, "the symbols of %s are already built\n", what)
	}
	if r.Sent {
		fmt.Fprintf(w, "uploaded them to the node: %s, %s\n", formatMegabytes(r.Kept.Size), formatSeconds(r.Send))
	}
	if r.Kept.GoOnly {
		fmt.Fprintln(w, "its C code was compiled differently: C functions have no names in stacks, all else is as usual")
		fmt.Fprintln(w, "the Go part of the twin is the same program: run dapbridge serve")
		return
	}
	fmt.Fprintln(w, "the twin is the same program: run dapbridge serve")
}

func formatSeconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// twinProgress shows the steps of building a twin.
func (env environment) twinProgress() func(twin.Step) {
	var phase string
	names := map[string]string{twin.Sources: "fetching the source", twin.Packages: "building", twin.Proof: "comparing"}
	return func(s twin.Step) {
		if s.Phase != phase {
			phase = s.Phase
			env.progress.step("%s", names[phase])
		}
		if s.Total > 0 {
			env.progress.update("%d of %d packages", s.Done, s.Total)
		}
	}
}

// symbolsConfig returns the configuration for building symbols, with this program as the
// go command's -toolexec.
func (f *nodeFlags) symbolsConfig(root, cache string, log *slog.Logger) (symbols.Config, error) {
	self, err := os.Executable()
	if err != nil {
		return symbols.Config{}, err
	}
	return symbols.Config{
		Mode: symbols.Ask, Root: root, Host: findHost(), Command: f.symbolsCommand(root),
		Twins: &twin.Builder{
			Dir: filepath.Join(cache, "twins"), Env: os.Environ(), ToolExec: []string{self, "toolexec"}, Log: log,
		},
	}, nil
}

// findHost returns what this machine can build for.
func findHost() recipe.Host {
	h := recipe.Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CC: map[string]string{}}
	for _, arch := range []string{"amd64", "arm64"} {
		names := recipe.CrossCompilers(arch)
		if named := os.Getenv(recipe.CrossCompilerVariable(arch)); named != "" {
			names = []string{named}
		}
		for _, name := range slices.Backward(names) {
			if path, err := exec.LookPath(name); err == nil { // refuses one in the current directory
				h.CC[arch] = path
			}
		}
	}
	return h
}

// symbolsCommand returns the command line that builds the symbols of the target that
// these flags select.
func (f *nodeFlags) symbolsCommand(root string) string {
	argv := []string{"dapbridge", "symbols"}
	add := func(name, value, def string) {
		if value != def {
			argv = append(argv, name, value)
		}
	}
	add("--node", f.node, "")
	add("--identity", f.identity, "")
	if f.allowNonLocal {
		argv = append(argv, "--allow-non-local")
	}
	add("--target", f.target, "containerd")
	if f.pid != 0 {
		argv = append(argv, "--pid", fmt.Sprint(f.pid))
	}
	return strings.TrimSpace(remote.Quote(append(argv, root)))
}
