package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
)

// installDocker puts a docker command first in PATH that reports endpoint as its
// context's. An empty one stands for a docker without contexts.
func installDocker(t *testing.T, endpoint string) {
	t.Helper()
	bin := t.TempDir()
	script := `[ "$*" = "context inspect --format {{.Endpoints.docker.Host}}" ] && echo '` + endpoint + "'"
	if endpoint == "" {
		script = "exit 1"
	}
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestContainer(t *testing.T) {
	for _, c := range []struct {
		spec, dockerHost, context, containerHost string

		local bool
		host  string // of the engine, if not local
		why   string
	}{
		{spec: "docker:kind-control-plane", local: true},
		{spec: "docker:k3d-x.y_z-0", context: "unix:///var/run/docker.sock", local: true},
		{spec: "docker:x", context: "npipe:////./pipe/docker_engine", local: true},
		{spec: "docker:x", context: "ssh://me@build.example.org", host: "build.example.org", why: "its docker engine is on build.example.org"},
		{spec: "docker:x", dockerHost: "tcp://10.1.2.3:2376", host: "10.1.2.3", why: "its docker engine is on 10.1.2.3"},
		{spec: "docker:x", dockerHost: "tcp://127.0.0.1:2375", context: "ssh://ignored", local: true},
		{spec: "docker:x", dockerHost: "unix:///run/user/1000/docker.sock", context: "ssh://ignored", local: true},
		{spec: "docker:x", dockerHost: "ssh://[::1]", local: true},
		{spec: "docker:x", dockerHost: "tcp://%", why: `cannot tell from "tcp://%" where its docker engine is`},
		{spec: "podman:x", dockerHost: "tcp://ignored", context: "ssh://ignored", local: true},
		{spec: "podman:x", containerHost: "ssh://root@far.example.org:22/run/podman/podman.sock", host: "far.example.org", why: "its podman engine is on far.example.org"},
	} {
		t.Run(fmt.Sprintf("%s %s%s%s", c.spec, c.dockerHost, c.context, c.containerHost), func(t *testing.T) {
			installDocker(t, c.context)
			o := node.Options{Spec: c.spec, DockerHost: c.dockerHost, ContainerHost: c.containerHost}
			engine, name, _ := strings.Cut(c.spec, ":")
			want := &node.Node{Name: c.spec, Exec: &node.Container{Engine: engine, Name: name, Host: c.host}, Local: c.local, Why: c.why}
			if c.local {
				want.Why = engine + " runs on this machine"
			}
			checkNode(t, resolve(t, o), want)
			if c.host != "" {
				o.LocalNodes = []string{c.host}
				if n := resolve(t, o); !n.Local {
					t.Errorf("not local with %s in LocalNodes: %s", c.host, n.Why)
				}
			}
		})
	}
}

func TestContainerSpecRefused(t *testing.T) {
	for _, name := range []string{"-x", "--help", "a b", "a/b", "a;b", "a\nb", "$(id)", "_x", ".x", "ä"} {
		checkFails(t, node.Options{Spec: "docker:" + name}, diag.Usage, "not a valid container name")
		checkFails(t, node.Options{Spec: "podman:" + name}, diag.Usage, "podman ps")
	}
	for _, spec := range []string{"docker:", "docker", "podman", "dockerx:y"} {
		checkFails(t, node.Options{Spec: spec}, diag.Usage, "docker:CONTAINER")
	}
}
