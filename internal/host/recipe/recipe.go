// Package recipe derives from what an executable records how it was built, so that
// it can be rebuilt on the host. It is pure: facts in, a recipe or a refusal out.
//
// An attacker may forge the facts to make the host run a program or read a file. So
// a fact becomes an argument, an environment variable or a path only if it has a
// known, harmless form (settings.go, flags.go); everything else is refused by name.
package recipe

import (
	"regexp"
	"strings"

	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
)

// Host is the machine that builds.
type Host struct {
	OS, Arch string            // GOOS and GOARCH
	CC       map[string]string // C compilers for Linux of other architectures, by GOARCH
}

// Recipe describes how to rebuild an executable.
type Recipe struct {
	Toolchain string   `json:"toolchain"` // value of GOTOOLCHAIN, such as go1.26.8
	Package   string   `json:"package"`   // import path of the main package
	Source    Source   `json:"source"`
	Others    []Source `json:"others,omitempty"` // further sources that may be the right one, the cheapest first
	Flags     []string `json:"flags"`            // of go build, besides those that depend on the source ([Recipe.BuildFlags])
	Env       []string `json:"env"`              // NAME=VALUE
	// Roots are directories of the machine that built the executable, which
	// records them. They must replace those of the machine that rebuilds it.
	Roots exe.Roots `json:"roots"`
	// LinkFlags reports whether the executable records the linker flags.
	LinkFlags bool `json:"linkFlags"`
	// Workspace reports whether other modules came from directories beside the
	// main one (go.work).
	Workspace bool `json:"workspace,omitempty"`
	// Vendored reports whether the dependencies came from a vendor directory.
	Vendored bool     `json:"vendored,omitempty"`
	Recorded Recorded `json:"recorded,omitzero"`
	// GODEBUG holds the default settings, KEY=VALUE, that the go.mod for a
	// published version must set: those in force in the original build.
	GODEBUG []string `json:"godebug,omitempty"`
}

// New returns the recipe by which the host can rebuild an executable. The error's
// code is diag.TwinRefused.
func New(o *exe.Origin, h Host) (*Recipe, error) {
	r := &Recipe{Package: o.MainPackage, Roots: o.Roots}
	for _, step := range []func(*exe.Origin, Host) error{r.setToolchain, r.setPackage, r.refuseModified, r.setSource, r.checkRoots, r.applySettings, r.checkPlatform} {
		if err := step(o, h); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func refuse(format string, args ...any) *diag.Error {
	return diag.Errorf(diag.TwinRefused, format, args...)
}

// setToolchain accepts only releases: the go command looks for any other name on
// the host's PATH (https://go.dev/doc/toolchain, "GOTOOLCHAIN").
func (r *Recipe) setToolchain(o *exe.Origin, _ Host) error {
	m := regexp.MustCompile(`^go1\.([1-9][0-9]?)(\.[0-9]{1,3}|rc[0-9]{1,2}|beta[0-9]{1,2})?$`).FindStringSubmatch(o.GoVersion)
	switch {
	case m == nil:
		return refuse("the target was built by %q, which is not a Go release", o.GoVersion)
	case len(m[1]) == 1 || m[1] < "21":
		return refuse("the target was built by %s: toolchains before go1.21 cannot be downloaded as modules", o.GoVersion)
	}
	r.Toolchain = o.GoVersion
	return nil
}

// setPackage checks the main package and its module.
func (r *Recipe) setPackage(o *exe.Origin, _ Host) error {
	switch {
	case o.MainPackage == "command-line-arguments":
		return refuse("the target was built from a list of files, which records no package")
	case o.ModulePath == "":
		return refuse("the target was built without modules (GOPATH), so the versions of its packages are unknown")
	case module.CheckImportPath(o.MainPackage) != nil:
		return refuse("the target records an invalid main package: %q", o.MainPackage)
	case module.CheckImportPath(o.ModulePath) != nil:
		return refuse("the target records an invalid module: %q", o.ModulePath)
	}
	if rest, ok := strings.CutPrefix(o.MainPackage, o.ModulePath); !ok || rest != "" && rest[0] != '/' {
		return refuse("the target's main package %s is not in its main module %s", o.MainPackage, o.ModulePath)
	}
	r.Source.Module = o.ModulePath
	return nil
}

// checkRoots refuses directories that a -trimpath argument cannot express.
func (r *Recipe) checkRoots(o *exe.Origin, _ Host) error {
	for _, dir := range []string{o.Roots.Module, o.Roots.ModCache, o.Roots.GOROOT} {
		if dir != "" && !isPlainPath(dir) {
			return refuse("the target was built in %q, and -trimpath cannot express that name", dir)
		}
	}
	return nil
}

// checkPlatform refuses what this host cannot build.
func (r *Recipe) checkPlatform(o *exe.Origin, h Host) error {
	if s := o.Settings; s["GOOS"] != "linux" || s["GOARCH"] != o.Arch {
		return refuse("the target records that it was built for %s/%s, but is a Linux executable for %s", s["GOOS"], s["GOARCH"], o.Arch)
	}
	if o.Settings["CGO_ENABLED"] != "1" || h.OS == "linux" && h.Arch == o.Arch {
		return nil
	}
	cc := h.CC[o.Arch]
	if cc == "" {
		return refuse("the target was built with cgo for linux/%s, which needs a C compiler for that; this machine is %s/%s and has none", o.Arch, h.OS, h.Arch).
			WithHint("install one that is called %s, or name it in %s", CrossCompilers(o.Arch)[0], CrossCompilerVariable(o.Arch))
	}
	r.Env = append(r.Env, "CC="+cc)
	return nil
}

// CrossCompilers returns the usual names of a C compiler for Linux of an architecture:
// Debian's, and that of toolchains for macOS.
func CrossCompilers(arch string) []string {
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
	if machine == "" {
		machine = arch
	}
	return []string{machine + "-linux-gnu-gcc", machine + "-unknown-linux-gnu-gcc"}
}

// CrossCompilerVariable returns the environment variable that names such a compiler, as
// Go's own build has it (make.bash).
func CrossCompilerVariable(arch string) string { return "CC_FOR_linux_" + arch }

// isPlainPath reports whether p can be part of "-trimpath A=>B;C=>D".
func isPlainPath(p string) bool {
	return len(p) < 4096 && strings.HasPrefix(p, "/") && !strings.ContainsFunc(p, func(c rune) bool {
		return c < ' ' || c == 0x7f || c == ';' || c == '\'' || c == '"'
	}) && !strings.Contains(p, "=>")
}
