package procfs

import (
	"bytes"
	"context"
	"os"
	"path"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api"
)

// defaultEndpoint is kubelet's default (KubeletConfiguration,
// containerRuntimeEndpoint).
const defaultEndpoint = "unix:///run/containerd/containerd.sock"

// findKubelet returns the kubelet that runs as root outside of containers, nil if
// there is none.
func findKubelet(ctx context.Context) (*api.Kubelet, error) {
	pids, err := findByExe(ctx, "kubelet")
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		p, err := readProcess(pid)
		if err != nil || p.UID != 0 || p.InContainer() {
			continue
		}
		k := readKubelet(p.Args, func(name string) []byte {
			return readSmall(os.DirFS(procPath(pid, "root")), strings.TrimPrefix(path.Clean(name), "/"))
		})
		k.PID = pid
		if socket, ok := parseSocketPath(k.Endpoint); ok {
			k.Runtime = findSocketOwner(procPath(pid, "root"), socket)
			k.RuntimeExe, _, _ = readExe(k.Runtime)
		}
		return &k, nil
	}
	return nil, nil
}

// readKubelet interprets kubelet's command line, and the configuration file that it
// names, which read returns. A flag takes precedence over the file (kubelet's command
// line reference).
func readKubelet(args []string, read func(name string) []byte) api.Kubelet {
	k := api.Kubelet{Endpoint: defaultEndpoint}
	if config := findFlag(args, "config"); path.IsAbs(config) {
		text := read(config)
		if endpoint := findYAMLScalar(text, "containerRuntimeEndpoint"); endpoint != "" {
			k.Endpoint = endpoint
		}
		k.Cloud = parseCloud(findYAMLScalar(text, "providerID"))
	}
	if endpoint := findFlag(args, "container-runtime-endpoint"); endpoint != "" {
		k.Endpoint = endpoint
	}
	if id := parseCloud(findFlag(args, "provider-id")); id != "" {
		k.Cloud = id
	}
	return k
}

// parseCloud returns the cloud provider in a provider ID such as
// "aws:///zone/instance". Clusters on people's own machines have such IDs too.
func parseCloud(id string) string {
	name, _, ok := strings.Cut(id, "://")
	if !ok || name == "kind" || name == "k3s" || name == "minikube" {
		return ""
	}
	return name
}

// findFlag returns the last value of a flag, with one or two dashes, "" if there is
// none.
func findFlag(args []string, name string) (value string) {
	for i, arg := range args {
		rest, ok := strings.CutPrefix(strings.TrimPrefix(arg, "-"), "-"+name)
		switch {
		case !ok:
		case rest == "" && i+1 < len(args):
			value = args[i+1]
		case strings.HasPrefix(rest, "="):
			value = rest[1:]
		}
	}
	return value
}

// findYAMLScalar returns a scalar of the outermost mapping of a YAML file written by
// kubeadm or minikube: it is on the key's line. "" if there is none.
func findYAMLScalar(text []byte, key string) string {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(key+":")); ok {
			value, _, _ = bytes.Cut(value, []byte(" #"))
			return strings.Trim(strings.TrimSpace(string(value)), `"'`)
		}
	}
	return ""
}

// parseSocketPath returns the path in a unix socket's endpoint.
func parseSocketPath(endpoint string) (string, bool) {
	p := strings.TrimPrefix(endpoint, "unix://")
	return path.Clean(p), path.IsAbs(p)
}
