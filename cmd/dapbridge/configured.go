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

// configured returns cmd such that its flags which are keys of the configuration
// hold what is in force before it runs. pflag's Changed still means that a flag
// was given.
func configured(cmd *cobra.Command, env environment) *cobra.Command {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := env.configure(cmd)
		if err != nil {
			return err
		}
		return nameOrigin(run(cmd, args), s)
	}
	return cmd
}

// configure sets the flags of cmd and returns all that is in force.
func (env environment) configure(cmd *cobra.Command) (*config.Settings, error) {
	src, err := env.sources()
	if err != nil {
		return nil, err
	}
	src.Flags = given(cmd)
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

// given returns the flags that stand on the command line.
func given(cmd *cobra.Command) map[string][]string {
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

// sources are the layers of the configuration but for the flags.
func (env environment) sources() (config.Sources, error) {
	dir, err := os.Getwd()
	if err != nil {
		return config.Sources{}, err
	}
	src := config.Sources{Getenv: env.getenv, Dir: dir}
	if home, err := os.UserHomeDir(); err == nil { // a service has none, and no files
		src.Home = home
		src.UserFile = filepath.Join(configDir(env, home), "config.yaml")
		src.TrustFile = filepath.Join(stateDir(env, home), "trusted")
	}
	return src, nil
}

// configDir is where the user's own configuration is (XDG Base Directory
// Specification, XDG_CONFIG_HOME; macOS and Windows have a place of their own).
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

// nameOrigin adds to a message about a flag that the user did not give where its
// value is from.
func nameOrigin(err error, s *config.Settings) error {
	var e *diag.Error
	if !errors.As(err, &e) || e.Code != diag.Usage {
		return err
	}
	for _, v := range s.All() {
		written := v.Origin.File != "" || v.Origin.Layer == config.Environment
		if written && strings.HasPrefix(e.Summary, "--"+v.Key.Name+" ") {
			e.Summary += fmt.Sprintf(" (it is from %s)", v.From())
		}
	}
	return err
}
