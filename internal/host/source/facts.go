package source

import (
	"golang.org/x/mod/module"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/host/gosource"
	"github.com/dapbridge/dapbridge/pathmap"
)

// This file converts facts from internal/exe and internal/host/gosource to the types of
// pathmap, which imports neither.

func newTarget(t api.Target, s exe.Sources) pathmap.Target {
	facts := pathmap.Target{
		GoVersion:     t.Build.GoVersion,
		ModulePath:    t.Build.ModulePath,
		ModuleVersion: t.Build.ModuleVersion,
		MainPackage:   t.Build.MainPackage,
	}
	for _, m := range s.Modules {
		dep := pathmap.Module{Path: m.Path, Version: m.Version}
		if r := m.Replace; r != nil {
			dep.Replace = &pathmap.Module{Path: r.Path, Version: r.Version}
		}
		facts.Modules = append(facts.Modules, dep)
	}
	for _, d := range s.Dirs {
		facts.Dirs = append(facts.Dirs, pathmap.Dir{Dir: d.Dir, Package: d.Package, Files: d.Files})
	}
	return facts
}

func newHost(s gosource.Source) pathmap.Host {
	h := pathmap.Host{
		ModCache: s.Env.GOMODCACHE, GoRoot: s.Env.GOROOT, GoVersion: s.Env.GOVERSION, Platform: s.Env.Platform(), Tree: hostTree{},
	}
	for _, m := range s.Modules {
		w := pathmap.Workspace{Root: m.Root, ModulePath: m.Path, VendorDir: m.VendorDir}
		for _, r := range m.Require {
			w.Require = append(w.Require, newModule(r, nil))
		}
		for _, r := range m.Replace {
			w.Replace = append(w.Replace, newModule(r.Old, &r.New))
		}
		for _, v := range m.Vendor {
			w.Vendor = append(w.Vendor, newModule(v.Version, v.Replace))
		}
		h.Workspaces = append(h.Workspaces, w)
	}
	return h
}

func newModule(m module.Version, replace *module.Version) pathmap.Module {
	out := pathmap.Module{Path: m.Path, Version: m.Version}
	if replace != nil {
		r := newModule(*replace, nil)
		out.Replace = &r
	}
	return out
}

// hostTree is the host's file system.
type hostTree struct{}

func (hostTree) Has(path string) bool    { return gosource.Exists(path) }
func (hostTree) Real(path string) string { return gosource.RealPath(path) }
