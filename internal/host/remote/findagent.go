package remote

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Binary is an executable that can be the agent on a node.
type Binary struct {
	Path     string
	Hash     string // SHA-256 in hex
	OS, Arch string
}

// AgentOptions are the arguments of FindAgent.
type AgentOptions struct {
	Self     string // this program, os.Executable
	Version  string // of this program; empty or (devel) if it is not a release
	OS, Arch string // of the node
	Explicit string // --agent FILE
	CacheDir string // holds agents that were built
	Log      *slog.Logger
}

// FindAgent returns a binary for the node: the one that the user names; otherwise
// this program, if it is statically linked and for the node's platform; otherwise the
// release file next to it; otherwise one that the Go toolchain builds. Its error is
// diag.AgentMissing.
func FindAgent(ctx context.Context, o AgentOptions) (Binary, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Explicit != "" {
		if err := checkUsable(o.Explicit, o); err != nil {
			return Binary{}, diag.Errorf(diag.AgentMissing, "%w", err).
				WithHint("name a dapbridge built with CGO_ENABLED=0 GOOS=%s GOARCH=%s", o.OS, o.Arch)
		}
		return o.binary(o.Explicit)
	}
	beside := filepath.Join(filepath.Dir(o.Self), "dapbridge-"+o.OS+"-"+o.Arch)
	for _, path := range []string{o.Self, beside} {
		err := checkUsable(path, o)
		if err == nil {
			return o.binary(path)
		}
		o.Log.Debug("file cannot be the agent", "err", err)
	}
	path, err := buildAgent(ctx, o)
	if ctx.Err() != nil {
		return Binary{}, context.Cause(ctx)
	}
	if err != nil {
		return Binary{}, diag.Errorf(diag.AgentMissing, "no agent for %s/%s: %w", o.OS, o.Arch, err).
			WithHint("put dapbridge-%s-%s from the release next to %s, name one with --agent FILE, or install Go to build it", o.OS, o.Arch, o.Self)
	}
	return o.binary(path)
}

func (o *AgentOptions) binary(path string) (Binary, error) {
	hash, err := hashFile(path)
	if err != nil {
		return Binary{}, diag.Errorf(diag.AgentMissing, "cannot read the agent: %w", err)
	}
	return Binary{Path: path, Hash: hash, OS: o.OS, Arch: o.Arch}, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkUsable returns nil if the file is an ELF executable for the node that needs no
// shared libraries.
func checkUsable(path string, o AgentOptions) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if m, ok := machines[o.Arch]; o.OS != "linux" || !ok || f.Machine != m || f.Class != elf.ELFCLASS64 {
		return fmt.Errorf("%s is for %v, not for %s/%s", path, f.Machine, o.OS, o.Arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is dynamically linked", path)
		}
	}
	if libs, err := f.ImportedLibraries(); err == nil && len(libs) > 0 {
		return fmt.Errorf("%s is dynamically linked", path)
	}
	return nil
}
