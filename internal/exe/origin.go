package exe

import (
	"bytes"
	"debug/buildinfo"
	"path"
	"runtime/debug"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// originLimit bounds the strings of an Origin in bytes, since it is sent to the host.
// The largest known programs have three hundred modules in 40 KB.
const originLimit = 1 << 20

// depsLimit bounds the number of modules of an Origin.
const depsLimit = 4 << 10

// Origin is what an executable says about its sources: enough to build it again. All
// of it may be forged.
type Origin struct {
	Build
	MainSum string   `json:"mainSum,omitempty"` // go.sum's hash of the main package's module, only if that was downloaded
	Deps    []Module `json:"deps,omitempty"`
	Roots   Roots    `json:"roots"`
}

// Roots are directories of the machine on which an executable was built, according to
// the source files in its function table. Those that -trimpath has removed are empty.
type Roots struct {
	Module   string `json:"module,omitempty"`   // of the main module
	ModCache string `json:"modCache,omitempty"` // GOMODCACHE
	GOROOT   string `json:"goroot,omitempty"`
	Vendor   bool   `json:"vendor,omitempty"` // the dependencies were in the main module's vendor directory
}

// Origin returns the executable's origin. The error's code is diag.TargetNotGo if it
// is not a Go program.
func (x *File) Origin() (o *Origin, err error) {
	err = withELF(x.r, func(e executable) error {
		o, err = e.readOrigin()
		return err
	})
	return o, err
}

func (e executable) readOrigin() (*Origin, error) {
	b, err := e.readBuild()
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(e.r)
	if err != nil {
		return nil, diag.Errorf(diag.TargetNotGo, "not a Go program: %w", err)
	}
	o := &Origin{Build: *b, MainSum: info.Main.Sum}
	for _, m := range info.Deps {
		o.Deps = append(o.Deps, *newModule(m))
	}
	if n := o.size(); n > originLimit || len(o.Deps) > depsLimit {
		return nil, diag.Errorf(diag.TargetNotGo, "malformed executable: its %d modules take %d bytes", len(o.Deps), n)
	}
	o.Roots = e.findRoots(o)
	return o, nil
}

// newModule converts a debug.Module. A replacement has no replacement of its own.
func newModule(m *debug.Module) *Module {
	out := &Module{Path: m.Path, Version: m.Version, Sum: m.Sum}
	if r := m.Replace; r != nil {
		out.Replace = &Module{Path: r.Path, Version: r.Version, Sum: r.Sum}
	}
	return out
}

func (o *Origin) size() int {
	n := o.Build.size() + len(o.MainSum)
	for _, m := range o.Deps {
		n += len(m.Path) + len(m.Version) + len(m.Sum)
		if r := m.Replace; r != nil {
			n += len(r.Path) + len(r.Version) + len(r.Sum)
		}
	}
	return n
}

// findRoots derives the directories from the source files.
func (e executable) findRoots(o *Origin) Roots {
	r := Roots{Module: findModuleRoot(o.MainFile, o.MainPackage, o.ModulePath)}
	modules := map[string]bool{}
	for _, m := range o.Deps {
		if m.Replace != nil {
			m = *m.Replace
		}
		modules[escapeModule(m.Path)+"@"+escapeModule(m.Version)] = true
	}
	for data := range e.pclntabs() {
		// This may only look like a table; then the next candidate may be the right one.
		err := guard(func() error {
			t, err := newPclntab(data, e.ByteOrder)
			if err != nil {
				return err
			}
			file, err := t.findFile("runtime.main")
			if err != nil {
				return err
			}
			r.GOROOT = cutAbsolute(file, "/src/runtime/proc.go")
			for file := range bytes.SplitSeq(t.readFiles(), []byte{0}) {
				if len(file) <= pathLimit {
					r.addFile(string(file), modules)
				}
			}
			return nil
		})
		if err == nil {
			break
		}
	}
	return r
}

// addFile updates r with what a source file's path shows.
func (r *Roots) addFile(file string, modules map[string]bool) {
	if r.Module != "" && strings.HasPrefix(file, r.Module+"/vendor/") {
		r.Vendor = true
	}
	if r.ModCache == "" && strings.HasPrefix(file, "/") {
		r.ModCache = findModCache(file, modules)
	}
}

// findModCache returns the part before a module's directory in a path such as
// /root/go/pkg/mod/golang.org/x/sys@v0.1.0/unix/asm.s, "" if it has none.
func findModCache(file string, modules map[string]bool) string {
	at := strings.IndexByte(file, '@')
	if at < 0 {
		return ""
	}
	dir := file
	if end := strings.IndexByte(file[at:], '/'); end >= 0 {
		dir = file[:at+end]
	}
	for i := range at {
		if dir[i] == '/' && modules[dir[i+1:]] {
			return dir[:i]
		}
	}
	return ""
}

// escapeModule escapes a path or version as the module cache does: an upper-case
// letter becomes ! and the lower-case letter (golang.org/x/mod/module, EscapePath).
func escapeModule(s string) string {
	var b strings.Builder
	for _, r := range s {
		if 'A' <= r && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// findModuleRoot returns the main file's directory without the main package's path in
// the module, "" if they don't match or -trimpath has removed it.
func findModuleRoot(mainFile, mainPackage, module string) string {
	below, ok := strings.CutPrefix(mainPackage, module)
	if !ok || module == "" || below != "" && below[0] != '/' || path.Clean(mainFile) != mainFile {
		return ""
	}
	return cutAbsolute(path.Dir(mainFile), below)
}

// cutAbsolute returns an absolute path without the given end, "" if it does not have
// that end.
func cutAbsolute(file, end string) string {
	root, ok := strings.CutSuffix(file, end)
	if !ok || !strings.HasPrefix(root, "/") || path.Clean(root) != root {
		return ""
	}
	return root
}
