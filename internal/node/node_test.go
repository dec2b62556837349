package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/node"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fails resolves and returns the error, which must have the code and say all
// parts in its summary or its hint.
func checkFails(t *testing.T, o node.Options, code diag.Code, parts ...string) {
	t.Helper()
	n, err := node.Resolve(o)
	var e *diag.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%q: %+v, %v; want %s", o.Spec, n, err, code)
		return
	}
	for _, p := range parts {
		if text := e.Summary + "\n" + e.Hint; !strings.Contains(text, p) {
			t.Errorf("%q: %q does not contain %q", o.Spec, text, p)
		}
	}
}

func TestSSH(t *testing.T) {
	for spec, want := range map[string]node.Node{
		"ssh://docker@192.168.49.2":       {User: "docker", Addrs: []string{"192.168.49.2:22"}},
		"ssh://docker@192.168.49.2:32772": {User: "docker", Addrs: []string{"192.168.49.2:32772"}},
		"ssh://Node-1.Example.org":        {User: "me", Addrs: []string{"node-1.example.org:22"}},
		"ssh://my_node:2222":              {User: "me", Addrs: []string{"my_node:2222"}},
		"ssh://a%40b@h":                   {User: "a@b", Addrs: []string{"h:22"}},
		"ssh://[2001:db8::0:1]":           {User: "me", Addrs: []string{"[2001:db8::1]:22"}},
		"ssh://u@[fe80::1%25eth0]:2022":   {User: "u", Addrs: []string{"[fe80::1%eth0]:2022"}},
		"ssh://127.0.0.1":                 {User: "me", Addrs: []string{"127.0.0.1:22"}, Local: true},
		"ssh://127.8.9.10:1":              {User: "me", Addrs: []string{"127.8.9.10:1"}, Local: true},
		"ssh://[::1]:22":                  {User: "me", Addrs: []string{"[::1]:22"}, Local: true},
		"ssh://[::ffff:127.0.0.1]":        {User: "me", Addrs: []string{"[::ffff:127.0.0.1]:22"}, Local: true},
		"ssh://LOCALHOST":                 {User: "me", Addrs: []string{"localhost:22"}, Local: true},
		"ssh://localhost.example.org":     {User: "me", Addrs: []string{"localhost.example.org:22"}},
		"ssh://127.0.0.1.example.org":     {User: "me", Addrs: []string{"127.0.0.1.example.org:22"}},
		"ssh://0.0.0.0":                   {User: "me", Addrs: []string{"0.0.0.0:22"}},
	} {
		got, err := node.Resolve(node.Options{Spec: spec, User: "me", Home: t.TempDir(), Identity: "key"})
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		want.Name, want.Why = "ssh://"+want.User+"@"+want.Addrs[0], got.Why
		want.Identities = []string{"key"}
		if !reflect.DeepEqual(*got, want) || got.Why == "" {
			t.Errorf("%s:\n%+v, want\n%+v", spec, *got, want)
		}
	}
}

func TestSSHUsage(t *testing.T) {
	for _, spec := range []string{
		"ssh://", "ssh://@h", "ssh://u@", "ssh://u:secret@h", "ssh://u:@h", "ssh://h/", "ssh://h/path", "ssh://h?q", "ssh://h?", "ssh://h#f", "ssh://h#",
		"ssh://h:", "ssh://h:0", "ssh://h:65536", "ssh://h:x", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://a b@h", "ssh://a%0ab@h", "ssh://h h", "ssh://::1",
		"ssh://[::1", "ssh://[h]", "ssh://[127.0.0.1]", "ssh://%68", "ssh://ä", "ssh:", "ssh:-x", "ssh:a b", "ssh:$(x)", "SSH://h", "http://h", "h", "minikube:", "minikube:../x", "minikube:a/b/c", "minikube:.", "minikube:..", "minikube:-x", "podman",
	} {
		checkFails(t, node.Options{Spec: spec, User: "me", Home: t.TempDir()}, diag.Usage)
	}
	checkFails(t, node.Options{Spec: "ssh://h"}, diag.Usage, "no user")
	_, err := node.Resolve(node.Options{Spec: "ssh://u:secret@h:x"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a password in a message: %v", err)
	}
}

func TestIdentities(t *testing.T) {
	home := t.TempDir()
	resolve := func(o node.Options) *node.Node {
		t.Helper()
		o.Home = home
		n, err := node.Resolve(o)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := resolve(node.Options{Spec: "ssh://u@h"}); len(n.Identities) != 0 || !n.UserKeys {
		t.Errorf("no keys: %+v", n)
	}
	ed, rsa := filepath.Join(home, ".ssh", "id_ed25519"), filepath.Join(home, ".ssh", "id_rsa")
	write(t, rsa, "")
	write(t, ed, "")
	if n := resolve(node.Options{Spec: "ssh://u@h"}); !reflect.DeepEqual(n.Identities, []string{ed, rsa}) || !n.UserKeys {
		t.Errorf("default keys: %+v", n)
	}
	if n := resolve(node.Options{Spec: "ssh://u@h", Identity: "~/k"}); !reflect.DeepEqual(n.Identities, []string{filepath.Join(home, "k")}) || n.UserKeys {
		t.Errorf("--identity: %+v", n)
	}
}

const dockerProfile = `{"Name":"%","Driver":"docker","Nodes":[{"Name":"","IP":"192.168.49.2","Port":8443,"ControlPlane":true,"Worker":true}]}`

// profile writes a profile's config.json; % is its name.
func profile(t *testing.T, home, name, config string) {
	t.Helper()
	write(t, filepath.Join(home, "profiles", name, "config.json"), strings.ReplaceAll(config, "%", name))
}

func minikube(home, spec string) node.Options {
	return node.Options{Spec: spec, MinikubeHome: home, Home: "/nowhere", GOOS: "linux"}
}

func TestMinikube(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	profile(t, home, "minikube", dockerProfile)
	want := &node.Node{
		Name: "minikube", Addrs: []string{"192.168.49.2:22"}, User: "docker",
		Identities: []string{filepath.Join(home, "machines", "minikube", "id_rsa")},
		HostKeys:   node.Repin, Local: true,
		Container: &node.Container{Engine: "docker", Name: "minikube", Host: "127.0.0.1"},
	}
	for _, o := range []node.Options{
		minikube(home, ""), minikube(home, "minikube"), minikube(home, "minikube:minikube"),
		minikube(filepath.Dir(home), ""), {Home: filepath.Dir(home), GOOS: "linux"},
	} {
		got, err := node.Resolve(o)
		if err != nil {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		want.Why, want.Remedy = got.Why, got.Remedy
		if !reflect.DeepEqual(got, want) || got.Why == "" || got.Remedy == "" {
			t.Errorf("%+v:\n%+v, want\n%+v", o, got, want)
		}
	}
	o := minikube(home, "minikube")
	o.Identity = "key"
	if n, err := node.Resolve(o); err != nil || !reflect.DeepEqual(n.Identities, []string{"key"}) {
		t.Errorf("--identity: %+v, %v", n, err)
	}
}

func TestMultiNode(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	profile(t, home, "multi", `{"Name":"%","Driver":"docker","Nodes":[
		{"Name":"m02","IP":"192.168.49.3","Worker":true},
		{"Name":"","IP":"192.168.49.2","ControlPlane":true}]}`)
	profile(t, home, "single", `{"Driver":"docker","Nodes":[{"Name":"m01","IP":"192.168.49.9","ControlPlane":true}]}`)
	for spec, want := range map[string][2]string{
		"minikube:multi":     {"multi", "192.168.49.2:22"},
		"minikube:multi-m02": {"multi-m02", "192.168.49.3:22"},
		"minikube:single":    {"single", "192.168.49.9:22"},
	} {
		n, err := node.Resolve(minikube(home, spec))
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		key := filepath.Join(home, "machines", want[0], "id_rsa")
		if n.Name != want[0] || n.Addrs[0] != want[1] || n.Identities[0] != key {
			t.Errorf("%s: %+v", spec, n)
		}
	}
	checkFails(t, minikube(home, "minikube:multi-m03"), diag.NodeUnknown, "multi-m03", "multi, single")
}

// Without a name it is the profile that minikube itself would take.
func TestDefaultProfile(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	name := func() string {
		t.Helper()
		n, err := node.Resolve(minikube(home, ""))
		if err != nil {
			t.Fatal(err)
		}
		return n.Name
	}
	checkFails(t, minikube(home, ""), diag.NodeUnknown, home, "minikube start")
	profile(t, home, "b", dockerProfile)
	if got := name(); got != "b" {
		t.Errorf("the only one: %s", got)
	}
	profile(t, home, "a", dockerProfile)
	checkFails(t, minikube(home, ""), diag.NodeUnknown, "a, b", "--node minikube:a")
	profile(t, home, "minikube", dockerProfile)
	if got := name(); got != "minikube" {
		t.Errorf("minikube's own: %s", got)
	}
	write(t, filepath.Join(home, "config", "config.json"), `{"profile":"a","cpus":"4"}`)
	if got := name(); got != "a" {
		t.Errorf("the active one: %s", got)
	}
	write(t, filepath.Join(home, "config", "config.json"), `{"profile":"gone"}`)
	if got := name(); got != "minikube" {
		t.Errorf("an active one that is gone: %s", got)
	}
}

func TestMinikubeFailures(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	profile(t, home, "bare", `{"Driver":"none","Nodes":[{"IP":"10.0.0.1"}]}`)
	profile(t, home, "empty", `{"Driver":"docker","Nodes":[]}`)
	profile(t, home, "junk", `{`)
	profile(t, home, "evil", `{"Driver":"docker","Nodes":[{"Name":"../../x","IP":"10.0.0.1"},{"Name":"a"}]}`)
	profile(t, home, "large", `{"Driver":"docker","Name":"`+strings.Repeat("x", 1<<20)+`"}`)
	profile(t, home, "docker", dockerProfile)
	for name, parts := range map[string][]string{
		"bare":    {"driver none", "ssh://USER@127.0.0.1"},
		"empty":   {"no nodes", "minikube start -p empty"},
		"junk":    {"can't be read"},
		"evil":    {"can't be read", "no name of a node"},
		"large":   {"larger than"},
		"nothing": {"no profile nothing", "bare, docker"},
	} {
		checkFails(t, minikube(home, "minikube:"+name), diag.NodeUnknown, parts...)
	}
}

func TestCheckLocal(t *testing.T) {
	far := &node.Node{Name: "far", Why: "it is far"}
	err := node.CheckLocal(far, false)
	if diag.CodeOf(err) != diag.NodeNotLocal || !strings.Contains(err.Error(), "it is far") {
		t.Errorf("%v", err)
	}
	if err := node.CheckLocal(far, true); err != nil {
		t.Errorf("allowed: %v", err)
	}
	if err := node.CheckLocal(&node.Node{Local: true}, false); err != nil {
		t.Errorf("local: %v", err)
	}
	home := filepath.Join(t.TempDir(), ".minikube")
	profile(t, home, "public", strings.ReplaceAll(dockerProfile, "192.168.49.2", "203.0.113.7"))
	n, err := node.Resolve(minikube(home, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := node.CheckLocal(n, false); diag.CodeOf(err) != diag.NodeNotLocal {
		t.Errorf("a profile with a public address: %v", err)
	}
}

// Whatever a spec says, an address can be dialled as it is, the user is no
// option for any command, and local means loopback.
func FuzzSSH(f *testing.F) {
	for _, seed := range []string{"docker@192.168.49.2:22", "[::1]:22", "a%40b@h", "localhost", "u:p@h", "h/x", "-x@h", "%6c", "[fe80::1%25x]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		n, err := node.Resolve(node.Options{Spec: "ssh://" + rest, User: "me", Identity: "key"})
		if err != nil {
			if diag.CodeOf(err) != diag.Usage {
				t.Fatalf("%q: %v", rest, err)
			}
			return
		}
		if len(n.Addrs) != 1 || n.User == "" || strings.ContainsAny(n.User, "\x00\n\r ") || n.User[0] == '-' {
			t.Fatalf("%q: %+v", rest, n)
		}
		host := n.Addrs[0]
		if strings.ContainsAny(host, "\x00\n\r /@") || host[0] == '-' {
			t.Fatalf("%q: %+v", rest, n)
		}
		if n.Local && !strings.HasPrefix(host, "127.") && !strings.HasPrefix(host, "localhost:") && !strings.HasPrefix(host, "[::1]") && !strings.HasPrefix(host, "[::ffff:127.") && !strings.HasPrefix(host, "[::1%") {
			t.Fatalf("%q counts as local: %+v", rest, n)
		}
	})
}
