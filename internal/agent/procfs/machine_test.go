package procfs

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func TestReadMachine(t *testing.T) {
	root := fstest.MapFS{
		"etc/os-release":                   {Data: []byte("NAME=x\nPRETTY_NAME=\"Buildroot 2023.02.9\"\n")},
		"proc/sys/kernel/osrelease":        {Data: []byte("5.10.207\n")},
		"proc/self/status":                 {Data: []byte("CapEff:\t000001ffffffffff\nSeccomp:\t2\n")},
		"sys/fs/cgroup/cgroup.controllers": {Data: []byte("cpu io\n")},
	}
	m := readMachine(root)
	testenv.Equal(t, "Distribution", m.Distribution, "Buildroot 2023.02.9")
	testenv.Equal(t, "Kernel", m.Kernel, "5.10.207")
	testenv.Equal(t, "CgroupV2", m.CgroupV2, true)
	testenv.Equal(t, "number of obstacles", len(m.Obstacles), 1)
	testenv.Equal(t, "machine without files", readMachine(fstest.MapFS{}), api.System{})
	for text, want := range map[string]string{"PRETTY_NAME='a b'\n": "a b", "PRETTY_NAME=Alpine": "Alpine", "X=1\n": "", "": ""} {
		if got := parseOSRelease([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestReadKubelet has the command lines and files of kubeadm, minikube, kind and
// a cloud's node.
func TestReadKubelet(t *testing.T) {
	files := map[string]string{
		"/var/lib/kubelet/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nnested:\n  containerRuntimeEndpoint: no\n" +
			"containerRuntimeEndpoint: \"unix:///var/run/cri-dockerd.sock\" # as minikube writes it\nproviderID: kind://docker/a/b\n",
		"/etc/empty": "",
		"/etc/cloud": "providerID: 'gce://p/z/i'\n",
	}
	for _, tt := range []struct {
		args            []string
		endpoint, cloud string
	}{
		{nil, defaultEndpoint, ""},
		{[]string{"--config=/var/lib/kubelet/config.yaml"}, "unix:///var/run/cri-dockerd.sock", ""},
		{[]string{"--config", "/var/lib/kubelet/config.yaml", "--container-runtime-endpoint=unix:///run/crio/crio.sock"}, "unix:///run/crio/crio.sock", ""},
		{[]string{"-container-runtime-endpoint", "/run/a.sock", "--container-runtime-endpoint", "/run/b.sock"}, "/run/b.sock", ""},
		{[]string{"--config=/etc/empty", "--provider-id=aws:///eu-1a/i-1"}, defaultEndpoint, "aws"},
		{[]string{"--config=/etc/cloud"}, defaultEndpoint, "gce"},
		{[]string{"--config=relative", "--container-runtime-endpoint"}, defaultEndpoint, ""},
		{[]string{"--container-runtime-endpoints=x", "--provider-id=nonsense"}, defaultEndpoint, ""},
	} {
		k := readKubelet(append([]string{"kubelet"}, tt.args...), func(name string) []byte { return []byte(files[name]) })
		if k.Endpoint != tt.endpoint || k.Cloud != tt.cloud {
			t.Errorf("%q: %+v", tt.args, k)
		}
	}
}

func TestSocketPath(t *testing.T) {
	var got []string
	for _, endpoint := range []string{"unix:///run/x.sock", "/run/../run/y.sock", "tcp://127.0.0.1:1", "unix://relative", "npipe:////./pipe/x"} {
		if p, ok := parseSocketPath(endpoint); ok {
			got = append(got, p)
		}
	}
	if want := []string{"/run/x.sock", "/run/y.sock"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
