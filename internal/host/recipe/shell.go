package recipe

import (
	"fmt"
	"strings"
)

// ShellScript returns the recipe as a POSIX shell script that builds the twin as
// ./twin; it needs dapbridge on the PATH. dir is the directory of the user's source;
// quote turns words into a shell command line.
func (r *Recipe) ShellScript(dir, ldflags string, quote func(words []string) string) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("set -eu")
	line("out=$PWD/twin src=$(mktemp -d)")
	if err := r.writeFetch(line, dir, quote); err != nil {
		return "", err
	}
	if r.Source.Version == "" || r.Source.Clone {
		line(`cd "$(dirname "$(grep -rl --include=go.mod --exclude-dir=vendor --exclude-dir=testdata -e %s "$src" | head -n 1)")"`,
			quote([]string{"^module " + r.Source.Module + "$"}))
	}
	if r.Workspace && r.Roots.Module != "" { // the repository's root on the build machine
		line("sub=$(git rev-parse --show-prefix) root=%s", quote([]string{r.Roots.Module}))
		line(`root=${root%%"/${sub%%/}"}`)
	}
	workspace := "off"
	if r.Workspace {
		workspace = "" // the nearest go.work
	}
	line("export GOENV=off GOFLAGS= GOWORK=%s", workspace)
	line("export %s", quoteAssignments(append([]string{"GOTOOLCHAIN=" + r.Toolchain}, r.Env...), quote))
	if r.Source.Clone && r.Vendored {
		line("go mod vendor")
	}
	flags := r.BuildFlags()
	if ldflags != "" && !r.LinkFlags {
		flags = append(flags, "-ldflags="+ldflags)
	}
	line(`go build -toolexec "dapbridge toolexec%s --" \`, r.mapFlags())
	line(`	%s -o "$out" -- %s`, quote(flags), quote([]string{r.Package}))
	return b.String(), nil
}

// writeFetch writes the lines that get the source.
func (r *Recipe) writeFetch(line func(string, ...any), dir string, quote func([]string) string) error {
	s := r.Source
	switch {
	case s.Clone:
		line(`module=%s`, quote([]string{s.Module + "@" + s.Version}))
		line(`cp -R "$(cd "$src" && GOFLAGS= go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')/." "$src"`)
		line(`chmod -R u+w "$src"`)
	case s.Version != "":
		mod, err := r.GoMod()
		if err != nil {
			return err
		}
		line("cd \"$src\"\ncat >go.mod <<'EOF'\n%sEOF", mod)
	case s.Revision != "":
		line(`git clone --quiet --shared --no-checkout --no-tags "$(git -C %s rev-parse --show-toplevel)" "$src"`, quote([]string{dir}))
		line(`git -C "$src" checkout --quiet --detach %s`, s.Revision)
		if tag, at := r.StampTag(); tag != "" {
			line(`git -C "$src" tag %s`, quote([]string{tag, at}))
		}
	default:
		line(`cp -R %s "$src"`, quote([]string{dir + "/."}))
		line(`rm -rf "$src/.git"`)
	}
	return nil
}

// mapFlags returns the flags of dapbridge toolexec, for use between double quotes: which
// directory of the build machine replaces which one of this machine. Those of the build
// machine contain no quotes (checkRoots).
func (r *Recipe) mapFlags() string {
	var b strings.Builder
	add := func(hostDir, buildDir string) {
		if buildDir != "" {
			fmt.Fprintf(&b, " '--map=%s=>%s'", hostDir, escapeDouble(buildDir))
		}
	}
	add("$(go env GOROOT)", r.Roots.GOROOT)
	moduleDir := "$PWD"
	if r.Source.Version != "" && !r.Source.Clone {
		moduleDir = "$(go list -m -mod=mod -f {{.Dir}} " + r.Source.Module + ")"
	}
	add(moduleDir, r.Roots.Module)
	if r.Workspace && r.Roots.Module != "" {
		b.WriteString(" '--map=$src=>$root'")
	}
	add("$(go env GOMODCACHE)", r.Roots.ModCache)
	if r.Roots.GOROOT != "" {
		fmt.Fprintf(&b, " '--goroot=%s'", escapeDouble(r.Roots.GOROOT))
	}
	for _, flag := range r.Stamp().Flags() {
		fmt.Fprintf(&b, " '%s'", escapeDouble(flag))
	}
	return b.String()
}

// escapeDouble escapes what is special to a shell between double quotes.
func escapeDouble(s string) string {
	return strings.NewReplacer(`\`, `\\`, `$`, `\$`, "`", "\\`").Replace(s)
}

// quoteAssignments quotes the values only, since NAME must not be quoted in an
// assignment.
func quoteAssignments(env []string, quote func([]string) string) string {
	var words []string
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		words = append(words, name+"="+quote([]string{value}))
	}
	return strings.Join(words, " ")
}
