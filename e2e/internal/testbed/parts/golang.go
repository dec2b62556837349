//go:build linux

package parts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goBuildEnv returns the environment of all Go builds, which overrides the user's go
// env: GOFLAGS would change the build information, -mod=mod would break a vendored
// build, and a go.work would add the user's modules.
func goBuildEnv(more ...string) []string {
	return append([]string{"GOFLAGS=-buildvcs=auto", "GOWORK=off", "GO111MODULE=on"}, more...)
}

// BuildCache returns the build cache for what is compiled with -trimpath. It contains
// no directories of this machine, so that another user's build of the same packages can
// use it.
func (c *Cache) BuildCache() string { return filepath.Join(c.Dir, "go-build") }

// goVersion returns the toolchain's version and architecture. It is part of every
// recipe that compiles, since another toolchain makes another binary.
func goVersion(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH")
	cmd.Dir = os.TempDir() // not in a module whose go.mod selects a toolchain
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	return strings.Join(strings.Fields(string(out)), " "), nil
}

// download downloads a module into the module cache and returns its directory there,
// which is read-only.
func download(ctx context.Context, module, version string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), goBuildEnv()...)
	out, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &answer); err == nil {
		err = jsonErr
	}
	if err != nil {
		return "", fmt.Errorf("download %s@%s: %w: %s", module, version, err, answer.Error)
	}
	return answer.Dir, nil
}

// Modules downloads the modules that a flavour's source imports.
func (c *Cache) Modules(ctx context.Context, flavour string) error {
	source, err := c.Source(ctx, flavour)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(c.Dir, ".modules-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	return workspace{tmp: tmp}.run(ctx, command{dir: source, env: goBuildEnv(), argv: []string{"go", "mod", "vendor", "-o", filepath.Join(tmp, "vendor")}})
}

// KubernetesModules downloads the modules that the kubelet is built from.
func (c *Cache) KubernetesModules(ctx context.Context) error {
	gomod, err := kubernetesGoMod(ctx)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(c.Dir, ".modules-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	module := filepath.Join(tmp, "module") // the go command ignores a go.mod in TMPDIR itself
	if err := writeFiles(module, map[string]string{"go.mod": gomod}); err != nil {
		return err
	}
	return workspace{tmp: tmp}.run(ctx, command{dir: module, env: goBuildEnv("CGO_ENABLED=0"), argv: []string{"go", "list", "-mod=mod", "-deps", "k8s.io/kubernetes/cmd/kubelet"}})
}

// copyModule makes a writable copy of a module.
func (w workspace) copyModule(ctx context.Context, module, version, dir string) error {
	from, err := download(ctx, module, version)
	if err != nil {
		return err
	}
	return w.runAll(ctx,
		command{argv: []string{"cp", "-r", "--reflink=auto", from, dir}},
		command{argv: []string{"chmod", "-R", "u+w,go+rX", dir}},
	)
}

// goInstallCommand returns a command that installs programs of a module into bin.
func goInstallCommand(bin, module, version string, env, flags []string, packages ...string) command {
	argv := append([]string{"go", "install"}, flags...)
	for _, p := range packages {
		argv = append(argv, module+"/"+p+"@"+version)
	}
	return command{dir: os.TempDir(), env: goBuildEnv(append(env, "GOBIN="+bin)...), argv: argv}
}

// writeFiles writes files, given by their paths below dir.
func writeFiles(dir string, files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
