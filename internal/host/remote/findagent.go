package remote

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// AgentSource is where this program's agents come from. Only an agent of the same version
// is one.
type AgentSource struct {
	Self    string            // this program, os.Executable
	Version string            // of this program; empty or (devel) if the toolchain knows none
	Sum     string            // of its module as in go.sum, if it was built from the module cache
	Built   map[string]string // by GOARCH, the SHA-256 of the agents that were built with it
	File    string            // if set, the only agent: --agent FILE

	CacheDir string // holds agents that were built
	Log      *slog.Logger
}

func (s AgentSource) log() *slog.Logger { return cmp.Or(s.Log, slog.New(slog.DiscardHandler)) }

// nodeArchs are the architectures of nodes, as GOARCH.
func nodeArchs() []string { return []string{"amd64", "arm64"} }

// Hashes implements [Agents].
func (s AgentSource) Hashes() []string {
	if s.File != "" {
		b, err := OpenAgent(s.File)
		if err != nil {
			return nil // Find reports it
		}
		return b.Hashes()
	}
	found := make([][]string, len(nodeArchs()))
	var wg sync.WaitGroup
	for i, arch := range nodeArchs() {
		wg.Go(func() {
			if built := s.Built[arch]; built != "" {
				found[i] = append(found[i], built)
				if exists(s.beside(arch)) {
					return // no file has to be read
				}
			}
			if b, err := s.local(arch); err == nil {
				found[i] = append(found[i], b.Hash)
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}

// Find implements [Agents]. It looks for the agent beside this program, takes this program
// itself if it is statically linked and for the node's platform, and otherwise builds one.
func (s AgentSource) Find(ctx context.Context, arch string) (Binary, error) {
	if s.File != "" {
		b, err := OpenAgent(s.File)
		if err != nil {
			return b, err
		}
		return b.Find(ctx, arch)
	}
	b, notFound := s.local(arch)
	if notFound == nil {
		return b, nil
	}
	path, err := s.build(ctx, arch)
	if ctx.Err() != nil {
		return Binary{}, context.Cause(ctx)
	}
	if err == nil {
		b, err = OpenAgent(path)
	}
	if err != nil {
		return Binary{}, diag.Errorf(diag.AgentMissing, "no agent for linux/%s: %w; %w", arch, notFound, err).WithHint("%s", s.remedy(arch))
	}
	return b, nil
}

// beside returns the path of an agent that is installed with this program.
func (s AgentSource) beside(arch string) string {
	return filepath.Join(filepath.Dir(s.Self), "dapbridge-linux-"+arch)
}

// local returns the agent that needs no building. Its error says what is wrong with the
// file beside this program, where users are told to put it.
func (s AgentSource) local(arch string) (Binary, error) {
	var besideErr error
	for _, try := range []struct {
		path   string
		isOurs bool
	}{
		{s.beside(arch), false},
		{s.Self, true},
		{filepath.Join(filepath.Dir(s.Self), "linux_"+arch, "dapbridge"), false}, // from GOARCH=… go install
		{s.cached(arch), true},
	} {
		err := checkUsable(try.path, arch)
		if err == nil && !try.isOurs {
			err = s.checkVersion(try.path, arch)
		}
		if err == nil {
			return OpenAgent(try.path)
		}
		s.log().Debug("file cannot be the agent", "err", err)
		besideErr = cmp.Or(besideErr, err)
	}
	return Binary{}, besideErr
}

// checkVersion returns an error unless the file is of the same version as this program: one
// that was built with it, or, if none was, one whose build information names the same
// version.
func (s AgentSource) checkVersion(path, arch string) error {
	if built := s.Built[arch]; built != "" {
		if hash, err := hashFile(path); err != nil || hash != built {
			return errors.Join(err, fmt.Errorf("%s was not built with this program", path))
		}
		return nil
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	if info.Main.Path != module || !isExact(s.Version) || info.Main.Version != s.Version {
		return fmt.Errorf("%s is not known to be of this program's version: it is %s %s, this is %s",
			path, info.Main.Path, cmp.Or(info.Main.Version, "(devel)"), cmp.Or(s.Version, "(devel)"))
	}
	return nil
}

// isExact reports whether a version stands for one state of the source.
func isExact(version string) bool {
	return strings.HasPrefix(version, "v") && !strings.HasSuffix(version, "+dirty")
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// remedy returns how to get the agent for this kind of program.
func (s AgentSource) remedy(arch string) string {
	release := isExact(s.Version) && !isPseudo(s.Version)
	switch {
	case s.Sum != "":
		return fmt.Sprintf("run %s with Go (https://go.dev/dl) in PATH: it installs the agent where this program finds it", s.installCommand(arch))
	case release && len(s.Built) > 0:
		return fmt.Sprintf("install the release again, with its agents: curl -fL https://%s/releases/download/%s/dapbridge-%s-%s-%s.tar.gz | tar -xzC %s",
			module, s.Version, s.Version, runtime.GOOS, runtime.GOARCH, Quote([]string{filepath.Dir(s.Self)}))
	}
	return fmt.Sprintf("run make build in dapbridge's source: it writes dapbridge and the agents to bin; dapbridge-linux-%s must stay beside the program", arch)
}

// installCommand returns the command that puts the agent into a directory of its own,
// beside a program that go install has built.
func (s AgentSource) installCommand(arch string) string {
	env := fmt.Sprintf("CGO_ENABLED=0 GOOS=linux GOARCH=%s ", arch)
	if runtime.GOOS == "windows" { // PowerShell
		env = fmt.Sprintf("$env:CGO_ENABLED=0; $env:GOOS='linux'; $env:GOARCH='%s'; ", arch)
	}
	return fmt.Sprintf("%sgo install -trimpath %s/cmd/dapbridge@%s", env, module, s.Version)
}
