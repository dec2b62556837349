package node_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/node"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// resolve resolves o, which must succeed.
func resolve(t *testing.T, o node.Options) *node.Node {
	t.Helper()
	n, err := node.Resolve(o)
	if err != nil {
		t.Fatalf("%q: %v", o.Spec, err)
	}
	return n
}

// checkNode compares all fields.
func checkNode(t *testing.T, got, want *node.Node) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	gotText, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("\n got %s\nwant %s", gotText, wantText)
}

// checkTexts checks that a node has the texts for messages.
func checkTexts(t *testing.T, n *node.Node) {
	t.Helper()
	if n.Why == "" {
		t.Errorf("%s: no reason why it is local or not", n.Name)
	}
	if n.Remedy == "" {
		t.Errorf("%s: no remedy", n.Name)
	}
}

// checkError checks that err contains want. No error is expected if want is empty.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case want != "" && err == nil:
		t.Errorf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want %q", err, want)
	}
}

// checkFails checks that resolving o fails with the code, and that each of the parts
// is in the error's summary or its hint.
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
		t.Run(spec, func(t *testing.T) {
			got := resolve(t, node.Options{Spec: spec, User: "me", Home: t.TempDir(), Identity: "key"})
			want.Name, want.Why = "ssh://"+want.User+"@"+want.Addrs[0], got.Why
			want.Identities = []string{"key"}
			checkNode(t, got, &want)
			if got.Why == "" {
				t.Error("no reason why it is local or not")
			}
		})
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
	if err == nil {
		t.Fatal("no error for a password")
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the message contains the password: %v", err)
	}
}

func TestIdentities(t *testing.T) {
	home := t.TempDir()
	check := func(identity string, userKeys bool, want ...string) {
		t.Helper()
		n := resolve(t, node.Options{Spec: "ssh://u@h", Home: home, Identity: identity})
		if !slices.Equal(n.Identities, want) {
			t.Errorf("keys %q, want %q", n.Identities, want)
		}
		if n.UserKeys != userKeys {
			t.Errorf("UserKeys is %v, want %v", n.UserKeys, userKeys)
		}
	}
	check("", true)
	ed, rsa := filepath.Join(home, ".ssh", "id_ed25519"), filepath.Join(home, ".ssh", "id_rsa")
	testenv.WriteFile(t, rsa, "")
	testenv.WriteFile(t, ed, "")
	check("", true, ed, rsa)
	check("~/k", false, filepath.Join(home, "k"))
}

const dockerProfile = `{"Name":"%","Driver":"docker","Nodes":[{"Name":"","IP":"192.168.49.2","Port":8443,"ControlPlane":true,"Worker":true}]}`

// profile writes a profile's config.json, in which % stands for its name.
func profile(t *testing.T, home, name, config string) {
	t.Helper()
	testenv.WriteFile(t, filepath.Join(home, "profiles", name, "config.json"), strings.ReplaceAll(config, "%", name))
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
		got := resolve(t, o)
		want.Why, want.Remedy = got.Why, got.Remedy
		checkNode(t, got, want)
		checkTexts(t, got)
	}
	o := minikube(home, "minikube")
	o.Identity = "key"
	if n := resolve(t, o); !slices.Equal(n.Identities, []string{"key"}) {
		t.Errorf("with --identity key: keys %q", n.Identities)
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
		n := resolve(t, minikube(home, spec))
		if got := [2]string{n.Name, n.Addrs[0]}; got != want {
			t.Errorf("%s: got %q, want %q", spec, got, want)
		}
		if key := filepath.Join(home, "machines", want[0], "id_rsa"); n.Identities[0] != key {
			t.Errorf("%s: key %s, want %s", spec, n.Identities[0], key)
		}
	}
	checkFails(t, minikube(home, "minikube:multi-m03"), diag.NodeUnknown, "multi-m03", "multi, single")
}

// Without a name it is the profile that minikube itself would use.
func TestDefaultProfile(t *testing.T) {
	home := filepath.Join(t.TempDir(), ".minikube")
	check := func(what, want string) {
		t.Helper()
		if n := resolve(t, minikube(home, "")); n.Name != want {
			t.Errorf("%s: got %s, want %s", what, n.Name, want)
		}
	}
	checkFails(t, minikube(home, ""), diag.NodeUnknown, home, "minikube start")
	profile(t, home, "b", dockerProfile)
	check("the only profile", "b")
	profile(t, home, "a", dockerProfile)
	checkFails(t, minikube(home, ""), diag.NodeUnknown, "a, b", "--node minikube:a")
	profile(t, home, "minikube", dockerProfile)
	check("the profile named minikube", "minikube")
	testenv.WriteFile(t, filepath.Join(home, "config", "config.json"), `{"profile":"a","cpus":"4"}`)
	check("the active profile", "a")
	testenv.WriteFile(t, filepath.Join(home, "config", "config.json"), `{"profile":"gone"}`)
	check("the active profile does not exist", "minikube")
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
		"junk":    {"cannot read"},
		"evil":    {"cannot read", "not a valid node name"},
		"large":   {"larger than"},
		"nothing": {"no profile nothing", "bare, docker"},
	} {
		checkFails(t, minikube(home, "minikube:"+name), diag.NodeUnknown, parts...)
	}
}

func TestCheckLocal(t *testing.T) {
	far := &node.Node{Name: "far", Why: "it is far"}
	err := node.CheckLocal(far, false)
	if diag.CodeOf(err) != diag.NodeNotLocal {
		t.Errorf("%v, want code %s", err, diag.NodeNotLocal)
	}
	checkError(t, err, "it is far")
	if err := node.CheckLocal(far, true); err != nil {
		t.Errorf("allowed: %v", err)
	}
	if err := node.CheckLocal(&node.Node{Local: true}, false); err != nil {
		t.Errorf("local: %v", err)
	}
	home := filepath.Join(t.TempDir(), ".minikube")
	profile(t, home, "public", strings.ReplaceAll(dockerProfile, "192.168.49.2", "203.0.113.7"))
	if err := node.CheckLocal(resolve(t, minikube(home, "")), false); diag.CodeOf(err) != diag.NodeNotLocal {
		t.Errorf("a profile with a public address: %v", err)
	}
}

// For any spec the address can be dialled as it is, no command takes the user for an
// option, and local means loopback.
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
		if len(n.Addrs) != 1 {
			t.Fatalf("%q: addresses %q", rest, n.Addrs)
		}
		checkUser(t, n.User)
		addr := n.Addrs[0]
		checkAddr(t, addr)
		if strings.ContainsAny(addr, "\x00/@") {
			t.Fatalf("%q: address %q", rest, addr)
		}
		loopback := []string{"127.", "localhost:", "[::1]", "[::ffff:127.", "[::1%"}
		if n.Local && !slices.ContainsFunc(loopback, func(prefix string) bool { return strings.HasPrefix(addr, prefix) }) {
			t.Fatalf("%q: %s counts as local", rest, addr)
		}
	})
}
