package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/api"
)

// The linker sets these (see the Makefile).
var (
	release string // the version, in releases
	agents  string // the SHA-256 of the agents that were built with this program: amd64=HEX,arm64=HEX
)

// version returns the release, or the version that the Go toolchain recorded.
func version() string {
	return cmp.Or(release, ownModule().Version, "(devel)")
}

// ownModule returns what the Go toolchain recorded of this module. Its Sum is set if it was
// built from the module cache rather than from a checkout.
func ownModule() debug.Module {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return debug.Module{}
	}
	// It is a dependency in a tool of another module (go tool dapbridge).
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == "github.com/dapbridge/dapbridge" && m.Replace == nil {
			return *m
		}
	}
	return debug.Module{}
}

// builtAgents returns agents by architecture.
func builtAgents() map[string]string {
	all := map[string]string{}
	for entry := range strings.SplitSeq(agents, ",") {
		if arch, hash, ok := strings.Cut(entry, "="); ok {
			all[arch] = hash
		}
	}
	return all
}

func newVersion(env environment) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of dapbridge and its components",
		Example: "  dapbridge version\n  dapbridge version -o json",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return runVersion(env, output) },
	}
	output.add(cmd)
	return cmd
}

func runVersion(env environment, output outputFlag) error {
	if err := output.check(); err != nil {
		return err
	}
	v := struct {
		Version  string `json:"version"`
		Delve    string `json:"delve"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
		Protocol int    `json:"protocol"`
	}{version(), delveVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, api.Protocol}
	if output == "json" {
		return printJSON(env.out, v)
	}
	_, err := fmt.Fprintf(env.out, "dapbridge %s\nDelve %s, %s, %s, agent protocol %d\n", v.Version, v.Delve, v.Go, v.Platform, v.Protocol)
	return err
}

// delveVersion returns the version of the Delve module in this program.
func delveVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/go-delve/delve" {
				return dep.Version
			}
		}
	}
	return "unknown"
}
