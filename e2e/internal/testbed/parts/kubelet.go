//go:build linux

package parts

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// KubernetesVersion is the version of the kubelet.
const KubernetesVersion = "v1.37.2"

const kubernetesModule = "k8s.io/kubernetes"

// stagingVersion returns the version of the modules that Kubernetes publishes from its
// own tree.
func stagingVersion() string { return "v0." + strings.TrimPrefix(KubernetesVersion, "v1.") }

//go:embed criload/main.go.txt
var criloadSource string

// Kubelet returns a tree with the kubelet in usr/bin.
func (c *Cache) Kubelet(ctx context.Context) (string, error) {
	return c.kubernetesProgram(ctx, part{name: "kubelet", recipe: []string{"1"}, duration: "about 5 min"},
		"usr/bin/kubelet", "k8s.io/kubernetes/cmd/kubelet", kubernetesGoMod, nil)
}

// CRILoad returns a tree with criload, a CRI client that generates load, in
// usr/local/bin.
func (c *Cache) CRILoad(ctx context.Context) (string, error) {
	gomod := func(context.Context) (string, error) {
		return "module testnode\n\ngo 1.26.0\n\nrequire k8s.io/cri-api " + stagingVersion() + "\n", nil
	}
	return c.kubernetesProgram(ctx, part{name: "criload", recipe: []string{"2", criloadSource}, duration: "about 20 s"},
		"usr/local/bin/criload", "./criload", gomod, map[string]string{"criload/main.go": criloadSource})
}

// kubernetesProgram builds a package into the file target of the part's tree, in a
// module with that go.mod and the files.
func (c *Cache) kubernetesProgram(ctx context.Context, p part, target, pkg string, writeGoMod func(context.Context) (string, error), files map[string]string) (string, error) {
	version, err := goVersion(ctx)
	if err != nil {
		return "", err
	}
	p.version, p.recipe = KubernetesVersion, append(p.recipe, version)
	p.build = func(ctx context.Context, w workspace) error {
		gomod, err := writeGoMod(ctx)
		if err != nil {
			return err
		}
		module := filepath.Join(w.tmp, "module")
		if err := writeFiles(module, map[string]string{"go.mod": gomod}); err != nil {
			return err
		}
		if err := writeFiles(module, files); err != nil {
			return err
		}
		return w.run(ctx, command{dir: module, env: goBuildEnv("CGO_ENABLED=0", "GOCACHE="+c.BuildCache()), argv: []string{
			"go", "build", "-mod=mod", "-trimpath",
			"-ldflags=-X k8s.io/component-base/version.gitVersion=" + KubernetesVersion,
			"-o", filepath.Join(w.out, target), pkg,
		}})
	}
	return c.get(ctx, p)
}

// kubernetesGoMod returns the go.mod of a module that builds programs of Kubernetes.
// Kubernetes replaces its staging modules with directories that its module does not
// contain; this go.mod replaces them with their published versions.
func kubernetesGoMod(ctx context.Context) (string, error) {
	dir, err := download(ctx, kubernetesModule, KubernetesVersion)
	if err != nil {
		return "", err
	}
	original, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "module testnode\n\ngo 1.26.0\n\nrequire %s %s\n", kubernetesModule, KubernetesVersion)
	for _, m := range regexp.MustCompile(`(?m)^\s*(\S+) => \./staging/src/\S+$`).FindAllStringSubmatch(string(original), -1) {
		fmt.Fprintf(&b, "replace %s => %[1]s %s\n", m[1], stagingVersion())
	}
	return b.String(), nil
}
