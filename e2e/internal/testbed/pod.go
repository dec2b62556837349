//go:build linux

package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// podTimeout bounds RunPod, WaitPod and RemovePod.
const podTimeout = 3 * time.Minute

// RunPod starts a pod and waits until its container runs. The kubelet makes it, or
// criload on a node without a kubelet.
func (n *Node) RunPod(ctx context.Context, name string) error {
	if err := n.StartPod(name); err != nil {
		return err
	}
	return n.WaitPod(ctx, name)
}

// StartPod starts a pod and does not wait for it.
func (n *Node) StartPod(name string) error {
	if !isValidName(name) {
		return fmt.Errorf("pod name %q: want at most 32 of a-z, 0-9 and inner dashes", name)
	}
	if !n.facts.Kubelet {
		_, err := n.Exec(context.Background(), "systemd-run", "--quiet", "--collect", "--unit="+podUnit(name),
			"criload", "-timeout="+podTimeout.String(), "keep", name)
		return err
	}
	path := n.manifestPath(name) // the kubelet finds it within a second
	v := n.templateValues()
	v.Pod = name
	content, err := render("pod.yaml", v)
	if err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(path), "."+name) // the kubelet ignores dot files
	if err := writeFile(next, content, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// WaitPod waits until the pod's container runs its program. It inspects only files and
// processes, so that it does not call into a containerd that is being debugged.
func (n *Node) WaitPod(ctx context.Context, name string) error {
	return poll(ctx, podTimeout, func() error {
		tasks, err := n.podTasks(name)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if t.container && n.runsPodProgram(t, name) {
				return nil
			}
		}
		return fmt.Errorf("no container of pod %s is running", name)
	})
}

// podUnit returns the name of the transient unit in which criload makes a pod.
func podUnit(pod string) string { return "criload-" + pod + ".service" }

// RemovePod removes a pod and waits until all its tasks have ended.
func (n *Node) RemovePod(ctx context.Context, name string) error {
	if err := n.deletePod(ctx, name); err != nil {
		return err
	}
	return poll(ctx, podTimeout, func() error {
		tasks, err := n.podTasks(name)
		if err == nil && len(tasks) > 0 {
			err = fmt.Errorf("%d tasks of pod %s are still running", len(tasks), name)
		}
		return err
	})
}

func (n *Node) deletePod(ctx context.Context, name string) error {
	if n.facts.Kubelet {
		if err := os.Remove(n.manifestPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if _, err := n.Exec(ctx, "sh", "-c", `systemctl stop "$0" 2>/dev/null; :`, podUnit(name)); err != nil {
		return err
	}
	return poll(ctx, podTimeout, func() error { // containerd may be restarting
		_, err := n.Exec(ctx, "criload", "-timeout=30s", "remove", name)
		return err
	})
}

// manifestPath returns the path of a static pod's manifest.
func (n *Node) manifestPath(pod string) string {
	return filepath.Join(n.RootFS(), manifestDir, pod+".yaml")
}

// task is a process tree that a shim manages.
type task struct {
	bundle    string // path of its bundle on this machine
	container bool   // false for the pod's sandbox
}

// podTasks lists the tasks of a pod. containerd's annotations name the pod of a bundle;
// the kubelet appends the node's name to that of a static pod.
func (n *Node) podTasks(pod string) ([]task, error) {
	bundles, err := filepath.Glob(filepath.Join(n.RootFS(), "run/containerd/io.containerd.runtime.v2.task/k8s.io/*"))
	if err != nil {
		return nil, err
	}
	var tasks []task
	for _, dir := range bundles {
		raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // being made or removed
		}
		if err != nil {
			return nil, err
		}
		var spec struct{ Annotations map[string]string }
		if json.Unmarshal(raw, &spec) != nil {
			continue // being written
		}
		sandbox := spec.Annotations["io.kubernetes.cri.sandbox-name"]
		if sandbox == pod || sandbox == pod+"-"+n.Name() {
			kind := spec.Annotations["io.kubernetes.cri.container-type"]
			tasks = append(tasks, task{bundle: dir, container: kind == "container"})
		}
	}
	return tasks, nil
}

// runsPodProgram reports whether t's first process is the pod's program rather than
// runc, which prepares it.
func (n *Node) runsPodProgram(t task, pod string) bool {
	raw, err := os.ReadFile(filepath.Join(t.bundle, "init.pid"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return false
	}
	line, err := os.ReadFile(filepath.Join(n.procDir(pid), "cmdline"))
	return err == nil && string(line) == "/pause\x00pod\x00"+pod+"\x00"
}
