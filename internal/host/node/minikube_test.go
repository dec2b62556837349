package node_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// minikubeVector is a MINIKUBE_HOME as minikube's code writes it, in the source files
// that About names, and the nodes that it should resolve to.
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
			v := readVector(t, file)
			home := filepath.Join(t.TempDir(), ".minikube")
			for name, content := range v.Files {
				testenv.WriteFile(t, filepath.Join(home, filepath.FromSlash(name)), string(content))
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
				if got := describe(n, home); fmt.Sprint(got) != fmt.Sprint(c.Want) {
					t.Errorf("case %d:\n got %+v\nwant %+v", i, got, c.Want)
				}
				checkTexts(t, n)
			}
		})
	}
}

func readVector(t *testing.T, file string) minikubeVector {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v minikubeVector
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if v.About == "" || len(v.Cases) == 0 {
		t.Fatalf("%s: no About or no Cases: %+v", file, v)
	}
	return v
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

// Of several profiles the only running one is the default.
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
		if n := resolve(t, o); n.Name != tt.want {
			t.Errorf("%q are running: got %s, want %s", tt.running, n.Name, tt.want)
		}
	}
}

func TestContainerSSHAddr(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ script, want, err string }{
		{"echo 32771", "192.0.2.1:32771", ""},
		{"echo 'Error: No such container: minikube' >&2; exit 1", "", "No such container: minikube"},
		{"echo", "", "not a port number"},
		{"echo 70000", "", "not a port number"},
		{"exit 3", "", "exit status 3"},
	} {
		engine := filepath.Join(dir, "docker")
		script := "#!/bin/sh\n[ \"$*\" = 'container inspect --format {{(index (index .NetworkSettings.Ports \"22/tcp\") 0).HostPort}} -- minikube' ] || { echo \"$*\" >&2; exit 9; }\n" + tt.script + "\n"
		if err := os.WriteFile(engine, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		c := node.Container{Engine: engine, Name: "minikube", Host: "192.0.2.1"}
		got, err := c.SSHAddr(t.Context())
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.script, got, tt.want)
		}
		checkError(t, err, tt.err)
	}
	if _, err := (&node.Container{Engine: filepath.Join(dir, "none"), Name: "x"}).SSHAddr(t.Context()); err == nil {
		t.Error("no error without the engine's command")
	}
}
