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

// podTimeout bounds how long Pod, PodWait and RemovePod wait.
const podTimeout = 3 * time.Minute

// errNoKubelet is the answer to whoever asks a node without kubelet for a pod.
var errNoKubelet = errors.New("this node has no kubelet")

// Pod runs a pod by the kubelet's static pod directory and waits until its
// container runs.
func (n *Node) Pod(ctx context.Context, name string) error {
	if err := n.PodStart(name); err != nil {
		return err
	}
	return n.PodWait(ctx, name)
}

// PodStart writes the pod's manifest and does not wait: the kubelet finds it
// within a second.
func (n *Node) PodStart(name string) error {
	path, err := n.manifest(name)
	if err != nil {
		return err
	}
	v := n.values()
	v.Pod = name
	content, err := render("pod.yaml", v)
	if err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(path), "."+name) // the kubelet passes over dot files
	if err := writeFile(next, content, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// PodWait waits until the pod's container runs its program. It looks at files
// and processes only, so it makes no call that a debugger of containerd sees.
func (n *Node) PodWait(ctx context.Context, name string) error {
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
		return fmt.Errorf("no container of pod %s runs", name)
	})
}

// RemovePod removes the pod's manifest and waits until nothing of the pod runs.
func (n *Node) RemovePod(ctx context.Context, name string) error {
	path, err := n.manifest(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return poll(ctx, podTimeout, func() error {
		tasks, err := n.podTasks(name)
		if err == nil && len(tasks) > 0 {
			err = fmt.Errorf("%d tasks of pod %s are left", len(tasks), name)
		}
		return err
	})
}

func (n *Node) manifest(pod string) (string, error) {
	if !n.facts.Kubelet {
		return "", errNoKubelet
	}
	if !validName(pod) {
		return "", fmt.Errorf("%q is no pod's name", pod)
	}
	return filepath.Join(n.RootFS(), manifestDir, pod+".yaml"), nil
}

// task is one process tree that a shim looks after.
type task struct {
	bundle    string // its directory, by this machine's path
	container bool   // rather than the pod's sandbox
}

// podTasks lists the tasks of a static pod. The kubelet appends the node's
// name to the pod's; containerd's annotations say which pod a bundle is of.
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
		if spec.Annotations["io.kubernetes.cri.sandbox-name"] == pod+"-"+n.Name() {
			kind := spec.Annotations["io.kubernetes.cri.container-type"]
			tasks = append(tasks, task{bundle: dir, container: kind == "container"})
		}
	}
	return tasks, nil
}

// runsPodProgram tells whether t's first process is the pod's program, and no
// longer runc that prepares it.
func (n *Node) runsPodProgram(t task, pod string) bool {
	raw, err := os.ReadFile(filepath.Join(t.bundle, "init.pid"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return false
	}
	line, err := os.ReadFile(filepath.Join(n.proc(pid), "cmdline"))
	return err == nil && string(line) == "/pause\x00pod\x00"+pod+"\x00"
}
