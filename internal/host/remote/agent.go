package remote

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Agents provides executables that can be the agent on a node.
type Agents interface {
	// Hashes returns the SHA-256, in hex, of those that need not be built. A node that has
	// one of them needs no upload.
	Hashes() []string
	// Find returns the one for a node with that GOARCH. It may take minutes to build. Its
	// error is diag.AgentMissing, or the cause of ctx's end.
	Find(ctx context.Context, arch string) (Binary, error)
}

// Binary is an executable for Linux that can be the agent on a node. As [Agents] it is
// the only one.
type Binary struct {
	Path string
	Hash string // SHA-256 in hex
	Arch string // GOARCH
}

// Hashes implements [Agents].
func (b Binary) Hashes() []string { return []string{b.Hash} }

// Find implements [Agents].
func (b Binary) Find(_ context.Context, arch string) (Binary, error) {
	if b.Arch != arch {
		return Binary{}, diag.Errorf(diag.AgentMissing, "the node is linux/%s, and the agent %s is for linux/%s", arch, b.Path, b.Arch).
			WithHint("leave out --agent, or name a dapbridge built with CGO_ENABLED=0 GOOS=linux GOARCH=%s", arch)
	}
	return b, nil
}

// OpenAgent returns the executable at path as an agent for its own platform. Its error is
// diag.AgentMissing.
func OpenAgent(path string) (Binary, error) {
	arch, err := nodeArch(path)
	if err != nil {
		return Binary{}, diag.Errorf(diag.AgentMissing, "%w", err).
			WithHint("name a dapbridge built with CGO_ENABLED=0 GOOS=linux and GOARCH=amd64 or arm64")
	}
	hash, err := hashFile(path)
	if err != nil {
		return Binary{}, diag.Errorf(diag.AgentMissing, "cannot read the agent: %w", err)
	}
	return Binary{Path: path, Hash: hash, Arch: arch}, nil
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

// checkUsable returns nil if the file is an agent for nodes of that architecture.
func checkUsable(path, arch string) error {
	found, err := nodeArch(path)
	if err == nil && found != arch {
		err = fmt.Errorf("%s is for linux/%s, not for linux/%s", path, found, arch)
	}
	return err
}

// nodeArch returns the architecture of an ELF executable that can run on a node, without
// any shared library.
func nodeArch(path string) (string, error) {
	f, err := elf.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("there is no %s", path)
	}
	if err != nil {
		return "", fmt.Errorf("%s is not a program for Linux: %w", path, err)
	}
	defer f.Close()
	archs := map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}
	arch := archs[f.Machine]
	if arch == "" || f.Class != elf.ELFCLASS64 {
		return "", fmt.Errorf("%s is for %v, and nodes are linux/amd64 or linux/arm64", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is dynamically linked", path)
		}
	}
	if libs, err := f.ImportedLibraries(); err == nil && len(libs) > 0 {
		return "", fmt.Errorf("%s is dynamically linked", path)
	}
	return arch, nil
}
