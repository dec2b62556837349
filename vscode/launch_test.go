package vscode_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/vscode"
)

var updateConfiguration = flag.Bool("update", false, "rewrite testdata/*.want.jsonc")

func containerd() vscode.Launch {
	return vscode.Launch{Name: "dapbridge: containerd", Host: "127.0.0.1", Port: 2345}
}

// TestConfigure compares the result for each testdata/NAME.in.jsonc with
// NAME.want.jsonc.
func TestConfigure(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.jsonc")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, name := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".in.jsonc"), func(t *testing.T) {
			in := readFile(t, name)
			got, changed, err := vscode.Configure(in, containerd())
			if err != nil {
				t.Fatal(err)
			}
			if want := !bytes.Equal(got, in); changed != want {
				t.Errorf("changed = %v, want %v", changed, want)
			}
			golden := strings.TrimSuffix(name, ".in.jsonc") + ".want.jsonc"
			if *updateConfiguration {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, golden); !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s\n(%q)", got, want, got)
			}
			again, changed, err := vscode.Configure(got, containerd())
			if err != nil {
				t.Fatalf("second run: %v", err)
			}
			if changed || !bytes.Equal(again, got) {
				t.Errorf("the second run changed the text (reported: %v) to\n%s", changed, again)
			}
		})
	}
}

func TestConfigureRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"not JSON", "{\n  \"a\": 1\n  b\n}", "launch.json:3:3: invalid character 'b' after object value (expecting ',' or '}')"},
		{"cut off", "{\n  \"a\": [\n", "launch.json:3:1: parsing value: unexpected EOF"},
		{"cut off comment", "{} /* ", "launch.json:1:4: parsing comment: unexpected EOF"},
		{"literal of several lines", "{\"a\": \"b\nc\"}", "launch.json:1:7: invalid literal"},
		{"two documents", "{}\n{}", "launch.json:2:1: invalid character '{' after top-level value"},
		{"behind a byte order mark", "\uFEFF{]", "launch.json:1:2: invalid character ']' at start of value"},
		{"UTF-16", "\xff\xfe{\x00}\x00", `launch.json:1:1: invalid character '\xff' at start of value`},
		{"an array", " []", "launch.json:1:2: expected an object"},
		{"configurations", "{\n\t\"configurations\": {}}", "launch.json:2:20: configurations: expected an array"},
		{
			"a key with comments inside",
			"{\"configurations\": [{\"name\": \"dapbridge: containerd\", \"mode\": \"remote\", \"debugAdapter\": \"dlv-dap\", \"host\": [/* c */]}]}",
			"launch.json:1:108: host: expected a plain value",
		},
		{"too large", strings.Repeat(" ", 1<<18) + "{}", "launch.json: larger than 262144 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, changed, err := vscode.Configure([]byte(tt.in), containerd())
			if diag.CodeOf(err) != diag.LaunchInvalid {
				t.Fatalf("got %v, want a %s error", err, diag.LaunchInvalid)
			}
			if err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if out != nil || changed {
				t.Errorf("out %q, changed %v", out, changed)
			}
		})
	}
}

// TestConfigureDeep parses deeply nested text: the parser recurses, and Go terminates a
// program whose stack exceeds 1 GB.
func TestConfigureDeep(t *testing.T) {
	in := strings.Repeat("[", 1<<18)
	if _, _, err := vscode.Configure([]byte(in), containerd()); diag.CodeOf(err) != diag.LaunchInvalid {
		t.Error(err)
	}
}

func TestConfigureRefusesLaunch(t *testing.T) {
	for _, l := range []vscode.Launch{
		{Host: "127.0.0.1", Port: 1},
		{Name: "n", Port: 1},
		{Name: "n", Host: "127.0.0.1"},
		{Name: "n", Host: "127.0.0.1", Port: 65536},
	} {
		if _, _, err := vscode.Configure(nil, l); diag.CodeOf(err) != diag.Usage {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

func TestConfigureSeveralTargets(t *testing.T) {
	other := vscode.Launch{Name: "dapbridge: \"kubelet\" \xff", Host: "::1", Port: 2346}
	var text []byte
	for _, l := range []vscode.Launch{containerd(), other, containerd(), other} {
		var err error
		if text, _, err = vscode.Configure(text, l); err != nil {
			t.Fatal(err)
		}
	}
	for _, once := range []string{`"name": "dapbridge: containerd"`, `"name": "dapbridge: \"kubelet\" ` + "\uFFFD" + `"`} {
		if n := strings.Count(string(text), once); n != 1 {
			t.Errorf("%s: %d times in\n%s", once, n, text)
		}
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
