package daemon

import (
	"errors"

	"github.com/dapbridge/dapbridge/internal/agent"
	"github.com/dapbridge/dapbridge/internal/gosource"
	"github.com/dapbridge/dapbridge/pathmap"
)

// paths returns the map between the host's source and what the target's binary
// names: the user's own rules, or what follows from the binary and the module
// at Root. An error says why there is none; the map is the identity then.
func (c Config) paths(t agent.Target) (*pathmap.Map, error) {
	rules := c.Maps
	if len(rules) == 0 {
		module, err := gosource.Find(c.Root)
		if err != nil {
			return nil, err
		}
		var why string
		rules, why = pathmap.Infer(pathmap.Target{
			ModulePath:  t.Build.ModulePath,
			MainPackage: t.Build.MainPackage,
			MainFile:    t.Build.MainFile,
		}, []pathmap.Workspace{{Root: module.Root, ModulePath: module.Path}})
		if len(rules) == 0 {
			return nil, errors.New(why)
		}
	}
	return pathmap.New(rules...)
}
