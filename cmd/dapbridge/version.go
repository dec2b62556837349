package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/dapbridge/dapbridge/internal/api"
)

// release is set by the linker in releases (see the Makefile).
var release string

// version returns the release, or the version that the Go toolchain recorded.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
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
