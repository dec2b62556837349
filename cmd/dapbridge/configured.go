package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/config"
)

// withConfig has cmd load the configuration before it runs, so that those of its flags
// that are keys have the effective values. pflag's Changed still reports whether a flag
// was given on the command line.
func withConfig(cmd *cobra.Command, env environment) *cobra.Command {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := env.loadConfig(cmd)
		if err != nil {
			return err
		}
		return addOrigin(run(cmd, args), s)
	}
	return cmd
}

// loadConfig sets the flags of cmd to the effective values, and returns all settings.
func (env environment) loadConfig(cmd *cobra.Command) (*config.Settings, error) {
	src, err := env.configSources()
	if err != nil {
		return nil, err
	}
	src.Flags = explicitFlags(cmd)
	s, err := config.Load(src)
	if err != nil {
		return nil, err
	}
	for _, v := range s.All() {
		f := cmd.Flags().Lookup(v.Key.Name)
		if f == nil {
			continue
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			err = list.Replace(v.Text)
		} else {
			err = f.Value.Set(v.String())
		}
		if err != nil {
			return nil, fmt.Errorf("%s from %s: %w", v.Key.Name, v.From(), err)
		}
	}
	return s, nil
}

// explicitFlags returns the flags given on the command line.
func explicitFlags(cmd *cobra.Command) map[string][]string {
	flags := map[string][]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			flags[f.Name] = list.GetSlice()
		} else {
			flags[f.Name] = []string{f.Value.String()}
		}
	})
	return flags
}

// configSources returns the sources of the configuration except for the flags.
func (env environment) configSources() (config.Sources, error) {
	dir, err := os.Getwd()
	if err != nil {
		return config.Sources{}, err
	}
	src := config.Sources{Getenv: env.getenv, Dir: dir}
	if home, err := os.UserHomeDir(); err == nil { // a system service may have none, and then has no files
		src.Home = home
		src.UserFile = filepath.Join(configDir(env, home), "config.yaml")
		src.TrustFile = filepath.Join(stateDir(env, home), "trusted")
	}
	return src, nil
}

// configDir returns the directory of the user's own configuration (XDG Base Directory
// Specification, XDG_CONFIG_HOME; macOS and Windows have a directory of their own).
func configDir(env environment, home string) string {
	if dir := env.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "dapbridge")
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		if dir, err := os.UserConfigDir(); err == nil {
			return filepath.Join(dir, "dapbridge")
		}
	}
	return filepath.Join(home, ".config", "dapbridge")
}

// addOrigin adds where the value is set to an error about a flag that was not given on
// the command line.
func addOrigin(err error, s *config.Settings) error {
	var e *diag.Error
	if !errors.As(err, &e) || e.Code != diag.Usage {
		return err
	}
	for _, v := range s.All() {
		configured := v.Origin.File != "" || v.Origin.Layer == config.Environment
		if configured && strings.HasPrefix(e.Summary, "--"+v.Key.Name+" ") {
			e.Summary += fmt.Sprintf(" (from %s)", v.From())
		}
	}
	return err
}
