package node_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/node"
)

// docker puts a docker command first on PATH that says where its context is.
func docker(t *testing.T, endpoint string) {
	t.Helper()
	bin := t.TempDir()
	script := `[ "$*" = "context inspect --format {{.Endpoints.docker.Host}}" ] && echo '` + endpoint + "'"
	if endpoint == "" {
		script = "exit 1" // a docker without contexts
	}
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestContainer(t *testing.T) {
	for _, c := range []struct {
		spec, dockerHost, context, containerHost string
		local                                    bool
		why                                      string
	}{
		{spec: "docker:kind-control-plane", local: true},
		{spec: "docker:k3d-x.y_z-0", context: "unix:///var/run/docker.sock", local: true},
		{spec: "docker:x", context: "npipe:////./pipe/docker_engine", local: true},
		{spec: "docker:x", context: "ssh://me@build.example.org", why: "its docker engine is on build.example.org"},
		{spec: "docker:x", dockerHost: "tcp://10.1.2.3:2376", why: "its docker engine is on 10.1.2.3"},
		{spec: "docker:x", dockerHost: "tcp://127.0.0.1:2375", context: "ssh://ignored", local: true},
		{spec: "docker:x", dockerHost: "unix:///run/user/1000/docker.sock", context: "ssh://ignored", local: true},
		{spec: "docker:x", dockerHost: "ssh://[::1]", local: true},
		{spec: "docker:x", dockerHost: "tcp://%", why: `where its docker engine is can't be read from "tcp://%"`},
		{spec: "podman:x", dockerHost: "tcp://ignored", context: "ssh://ignored", local: true},
		{spec: "podman:x", containerHost: "ssh://root@far.example.org:22/run/podman/podman.sock", why: "its podman engine is on far.example.org"},
	} {
		docker(t, c.context)
		n, err := node.Resolve(node.Options{Spec: c.spec, DockerHost: c.dockerHost, ContainerHost: c.containerHost})
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		engine, name := c.spec[:6], c.spec[7:]
		if n.Name != c.spec || n.Exec == nil || n.Exec.Engine != engine || n.Exec.Name != name || n.Local != c.local {
			t.Errorf("%+v: %+v, %+v", c, n, n.Exec)
		}
		if host := n.Exec.Host; host != "" {
			named, err := node.Resolve(node.Options{Spec: c.spec, DockerHost: c.dockerHost, ContainerHost: c.containerHost, LocalNodes: []string{host}})
			if err != nil || !named.Local {
				t.Errorf("%+v, named as local: %+v, %v", c, named, err)
			}
		}
		if !c.local && n.Why != c.why {
			t.Errorf("%+v: %q", c, n.Why)
		}
	}
	for _, name := range []string{"-x", "--help", "a b", "a/b", "a;b", "a\nb", "$(id)", "_x", ".x", "ä"} {
		checkFails(t, node.Options{Spec: "docker:" + name}, diag.Usage, "no name of a container")
		checkFails(t, node.Options{Spec: "podman:" + name}, diag.Usage, "podman ps")
	}
	for _, spec := range []string{"docker:", "docker", "podman", "dockerx:y"} {
		checkFails(t, node.Options{Spec: spec}, diag.Usage, "docker:CONTAINER")
	}
}
