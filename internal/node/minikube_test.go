package node_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/node"
)

// minikubeVector is a MINIKUBE_HOME as minikube's code, in the files that About
// names, writes it, and what comes of it.
type minikubeVector struct {
	About string
	Files map[string]json.RawMessage
	Cases []struct {
		Spec, GOOS, DockerHost, ContainerHost string

		Want  minikubeNode
		Error string
	}
}

type minikubeNode struct {
	Name      string   `json:"name"`
	Addrs     []string `json:"addrs"`
	User      string   `json:"user"`
	Key       string   `json:"key"`
	HostKeys  string   `json:"hostKeys"`
	Local     bool     `json:"local"`
	Container string   `json:"container"`
}

func TestMinikubeVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/minikube/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var v minikubeVector
			if err := json.Unmarshal(data, &v); err != nil || v.About == "" || len(v.Cases) == 0 {
				t.Fatalf("%+v, %v", v, err)
			}
			home := filepath.Join(t.TempDir(), ".minikube")
			for name, content := range v.Files {
				write(t, filepath.Join(home, filepath.FromSlash(name)), string(content))
			}
			for i, c := range v.Cases {
				o := minikube(home, c.Spec)
				if o.Spec == "" {
					o.Spec = "minikube"
				}
				if o.DockerHost, o.ContainerHost = c.DockerHost, c.ContainerHost; c.GOOS != "" {
					o.GOOS = c.GOOS
				}
				n, err := node.Resolve(o)
				if c.Error != "" {
					if err == nil || !strings.Contains(err.Error(), c.Error) {
						t.Errorf("case %d: %+v, %v; want the error %q", i, n, err, c.Error)
					}
					continue
				}
				if err != nil {
					t.Errorf("case %d: %v", i, err)
					continue
				}
				got, want := describe(n, home), c.Want
				if fmt.Sprint(got) != fmt.Sprint(want) || n.Why == "" || n.Remedy == "" {
					t.Errorf("case %d:\n got %+v\nwant %+v\n%+v", i, got, want, n)
				}
			}
		})
	}
}

func describe(n *node.Node, home string) minikubeNode {
	d := minikubeNode{Name: n.Name, Addrs: n.Addrs, User: n.User, Local: n.Local}
	d.Key = strings.Replace(filepath.ToSlash(n.Identities[0]), filepath.ToSlash(home), "HOME", 1)
	d.HostKeys = map[node.HostKeyPolicy]string{node.KnownHosts: "known_hosts", node.Pin: "pin", node.Repin: "repin"}[n.HostKeys]
	if c := n.Container; c != nil {
		d.Container = c.Engine + " " + c.Name + " on " + c.Host
	}
	return d
}

// TestOnlyRunning chooses among several profiles.
func TestOnlyRunning(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	for _, name := range []string{"a", "b", "minikube"} {
		profile(t, home, name, dockerProfile)
	}
	for _, tt := range []struct {
		running []string
		want    string
	}{
		{nil, "minikube"}, {[]string{"b"}, "b"}, {[]string{"a", "b"}, "minikube"}, {[]string{"minikube"}, "minikube"},
	} {
		o := minikube(home, "")
		o.Running = func(n *node.Node) bool { return slices.Contains(tt.running, n.Name) }
		if n, err := node.Resolve(o); err != nil || n.Name != tt.want {
			t.Errorf("%q run: %+v, %v, want %s", tt.running, n, err, tt.want)
		}
	}
}

// TestContainerSSHAddr has a command in docker's place.
func TestContainerSSHAddr(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ script, want, err string }{
		{"echo 32771", "192.0.2.1:32771", ""},
		{"echo 'Error: No such container: minikube' >&2; exit 1", "", "No such container: minikube"},
		{"echo", "", "is no port"},
		{"echo 70000", "", "is no port"},
		{"exit 3", "", "exit status 3"},
	} {
		engine := filepath.Join(dir, "docker")
		script := "#!/bin/sh\n[ \"$*\" = 'container inspect --format {{(index (index .NetworkSettings.Ports \"22/tcp\") 0).HostPort}} -- minikube' ] || { echo \"$*\" >&2; exit 9; }\n" + tt.script + "\n"
		if err := os.WriteFile(engine, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		c := node.Container{Engine: engine, Name: "minikube", Host: "192.0.2.1"}
		got, err := c.SSHAddr(t.Context())
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", tt.script, got, err)
		}
	}
	if _, err := (&node.Container{Engine: filepath.Join(dir, "none"), Name: "x"}).SSHAddr(t.Context()); err == nil {
		t.Error("no engine, and no error")
	}
}
