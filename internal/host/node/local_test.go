package node_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/host/node"
)

// Hosts in LocalNodes count as local.
func TestLocalNodes(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	profile(t, home, "public", strings.ReplaceAll(dockerProfile, "192.168.49.2", "203.0.113.7"))
	direct := fakeSSH(t, "user u", "hostname 10.1.2.3", "port 22")
	behind := fakeSSH(t, "user u", "hostname 10.1.2.3", "port 22", "proxyjump other")
	for _, tt := range []struct {
		spec, ssh, named string
		local            bool
	}{
		{"ssh://u@10.1.2.3", "", "10.1.2.3", true},
		{"ssh://u@10.1.2.3:2222", "", "10.1.2.3", true},
		{"ssh://u@10.1.2.3", "", "::ffff:10.1.2.3", true},
		{"ssh://u@[2001:db8::1]", "", "2001:db8:0::1", true},
		{"ssh://u@Lab.Example.org", "", "lab.example.org", true},
		{"ssh://u@10.1.2.30", "", "10.1.2.3", false},
		{"ssh://u@a.lab.example.org", "", "lab.example.org", false},
		{"ssh://10.1.2.3@far.example.org", "", "10.1.2.3", false},
		{"ssh:lab", direct, "lab", true},
		{"ssh:u@lab", direct, "lab", true},
		{"ssh:lab", direct, "10.1.2.3", true},
		{"ssh:lab", behind, "lab", true},
		{"ssh:lab", behind, "10.1.2.3", false}, // an address in another network
		{"ssh:lab", direct, "la", false},
		{"minikube:public", "", "203.0.113.7", true},
		{"minikube:public", "", "public", false},
	} {
		o := minikube(home, tt.spec)
		o.SSH, o.User, o.LocalNodes = tt.ssh, "me", []string{"first", tt.named}
		if n := resolve(t, o); n.Local != tt.local {
			t.Errorf("%s with %s in LocalNodes: local is %v, want %v", tt.spec, tt.named, n.Local, tt.local)
		}
	}
}

// The node of a remote engine may be local, but its host key must not change.
func TestLocalEngine(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	profile(t, home, "minikube", dockerProfile)
	o := minikube(home, "minikube")
	o.DockerHost, o.LocalNodes = "ssh://u@engine.example.org", []string{"engine.example.org"}
	n := resolve(t, o)
	if !n.Local {
		t.Errorf("not local: %s", n.Why)
	}
	if n.HostKeys != node.Pin {
		t.Errorf("host key policy %v, want %v", n.HostKeys, node.Pin)
	}
}

func TestListChoices(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	if got := node.ListChoices(minikube(home, "")); len(got) > 0 {
		t.Errorf("without minikube: %v", got)
	}
	profile(t, home, "one", dockerProfile)
	profile(t, home, "two", strings.Replace(dockerProfile, `"Nodes":[`, `"Nodes":[{"Name":"m02","IP":"192.168.49.3"},`, 1))
	profile(t, home, "broken", "{")
	want := []node.Choice{
		{"minikube:one", "minikube profile, driver docker"},
		{"minikube:two", "minikube profile, driver docker"},
		{"minikube:two/m02", "node of two"},
		{"minikube:two/two", "node of two"},
	}
	if got := node.ListChoices(minikube(home, "")); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
