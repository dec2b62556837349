package sshconn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
)

const module = "github.com/dapbridge/dapbridge"

// Binary is a program that can be the agent on a node.
type Binary struct {
	Path     string
	Hash     string // SHA-256 in hex
	OS, Arch string
}

// AgentOptions says where FindAgent looks.
type AgentOptions struct {
	Self     string // this program, os.Executable
	Version  string // its version; empty or (devel) if it is no release
	OS, Arch string // the node's
	Explicit string // --agent FILE
	CacheDir string // where a built agent is kept
	Log      *slog.Logger
}

// FindAgent returns a binary for the node: the one that the user names; else
// this program, if it is statically linked and for the node's platform; else
// the release file beside it; else one that the Go toolchain builds. Its error
// is diag.AgentMissing.
func FindAgent(ctx context.Context, o AgentOptions) (Binary, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Explicit != "" {
		if err := usable(o.Explicit, o); err != nil {
			return Binary{}, diag.Errorf(diag.AgentMissing, "%w", err).
				WithHint("name a dapbridge built with CGO_ENABLED=0 GOOS=%s GOARCH=%s", o.OS, o.Arch)
		}
		return o.binary(o.Explicit)
	}
	beside := filepath.Join(filepath.Dir(o.Self), "dapbridge-"+o.OS+"-"+o.Arch)
	for _, path := range []string{o.Self, beside} {
		err := usable(path, o)
		if err == nil {
			return o.binary(path)
		}
		o.Log.Debug("no agent", "reason", err)
	}
	path, err := build(ctx, o)
	if err != nil {
		return Binary{}, diag.Errorf(diag.AgentMissing, "there is no agent for %s/%s: %w", o.OS, o.Arch, err).
			WithHint("put the release's dapbridge-%s-%s beside %s, name one with --agent FILE, or install Go so that it can be built", o.OS, o.Arch, o.Self)
	}
	return o.binary(path)
}

func (o *AgentOptions) binary(path string) (Binary, error) {
	hash, err := hashFile(path)
	if err != nil {
		return Binary{}, diag.Errorf(diag.AgentMissing, "the agent can't be read: %w", err)
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

// usable returns nil if the file is an ELF program for the node that needs no
// library there.
func usable(path string, o AgentOptions) error {
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

// build makes an agent of the source that this program was built from. It is
// made once for each build of this program.
func build(ctx context.Context, o AgentOptions) (string, error) {
	self, err := hashFile(o.Self)
	if err != nil {
		return "", err
	}
	path := filepath.Join(o.CacheDir, fmt.Sprintf("agent-%s-%s-%.16s", o.OS, o.Arch, self))
	if usable(path, o) == nil {
		return path, nil
	}
	tool, err := exec.LookPath("go") // refuses one in the current directory
	if err != nil {
		return "", err
	}
	src, err := source(ctx, tool, o)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(o.CacheDir, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(o.CacheDir, "build-*")
	if err != nil {
		return "", err
	}
	_ = tmp.Close()
	defer os.Remove(tmp.Name())
	o.Log.Info("building the agent with the Go toolchain", "for", o.OS+"/"+o.Arch, "source", src)
	cmd := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", tmp.Name(), "./cmd/dapbridge")
	cmd.Dir = src
	cmd.Env = buildEnv(o)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build in %s: %w: %s", src, err, oneLine(out))
	}
	if err := usable(tmp.Name(), o); err != nil {
		return "", err
	}
	return path, os.Rename(tmp.Name(), path)
}

// buildEnv returns the environment for go build, in which nothing of the
// user's settings for other work changes the result. GOFLAGS can't be empty: go
// would then take it from go env -w.
func buildEnv(o AgentOptions) []string {
	return append(os.Environ(),
		"CGO_ENABLED=0", "GOOS="+o.OS, "GOARCH="+o.Arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-trimpath", "GOWORK=off", "GO111MODULE=on")
}

// source returns the directory of this module's source: for a release in the
// module cache, else where this file was compiled.
func source(ctx context.Context, tool string, o AgentOptions) (string, error) {
	if strings.HasPrefix(o.Version, "v") {
		return downloaded(ctx, tool, o)
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) { // -trimpath leaves no absolute path
		return "", errors.New("this program does not know where its source is")
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	if !bytes.HasPrefix(mod, []byte("module "+module+"\n")) {
		return "", fmt.Errorf("%s is not the source of %s", root, module)
	}
	return root, nil
}

func downloaded(ctx context.Context, tool string, o AgentOptions) (string, error) {
	cmd := exec.CommandContext(ctx, tool, "mod", "download", "-json", module+"@"+o.Version)
	cmd.Dir = o.CacheDir
	cmd.Env = buildEnv(o)
	out, err := cmd.Output()
	var result struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &result); err == nil {
		err = jsonErr
	}
	if result.Error != "" {
		err = errors.New(result.Error)
	}
	if err != nil {
		return "", fmt.Errorf("go mod download %s@%s: %w", module, o.Version, err)
	}
	return result.Dir, nil
}
