package vscode_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/tailscale/hujson"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/vscode"
)

func FuzzConfigure(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.in.jsonc")
	if err != nil || len(inputs) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range inputs {
		f.Add(readFile(f, name))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, changed, err := vscode.Configure(in, containerd())
		if err != nil {
			if diag.CodeOf(err) != diag.LaunchInvalid {
				t.Fatal(err)
			}
			return
		}
		if changed == bytes.Equal(in, out) {
			t.Errorf("changed = %v", changed)
		}
		again, changed, err := vscode.Configure(out, containerd())
		if err != nil || changed || !bytes.Equal(again, out) {
			t.Errorf("a second run: changed = %v, %v\n%s", changed, err, again)
		}
		if got, want := findComments(out), findComments(in); !slices.Equal(got, want) {
			t.Errorf("comments %q, want %q", got, want)
		}
		if bytes.HasPrefix(in, []byte("\uFEFF")) != bytes.HasPrefix(out, []byte("\uFEFF")) {
			t.Error("the byte order mark changed")
		}
		// A file with only \r\n line ends keeps them.
		if n := bytes.Count(in, []byte("\n")); n > 0 && n == bytes.Count(in, []byte("\r\n")) && bytes.Count(bytes.TrimSpace(in), []byte("\n")) > 0 {
			if bytes.Count(out, []byte("\n")) != bytes.Count(out, []byte("\r\n")) {
				t.Errorf("mixed line ends: %q", out)
			}
		}
		checkRest(t, in, out)
	})
}

// findComments returns the comments of a JSON text in order.
func findComments(text []byte) []string {
	var all []string
	for len(text) > 0 {
		n := 1
		switch {
		case text[0] == '"':
			for n < len(text) && text[n] != '"' {
				if text[n] == '\\' {
					n++
				}
				n++
			}
			n++
		case bytes.HasPrefix(text, []byte("//")):
			if n = bytes.IndexByte(text, '\n'); n < 0 {
				n = len(text)
			}
			all = append(all, string(bytes.TrimRight(text[:n], " \t\r")))
		case bytes.HasPrefix(text, []byte("/*")):
			n = len("/*") + bytes.Index(text[2:], []byte("*/")) + len("*/")
			all = append(all, string(text[:n]))
		}
		text = text[min(n, len(text)):]
	}
	return all
}

// checkRest checks that in and out differ only in our configuration.
func checkRest(t *testing.T, in, out []byte) {
	before, after := parseStandard(t, in), parseStandard(t, out)
	want, _ := before["configurations"].([]any)
	got, _ := after["configurations"].([]any)
	delete(before, "configurations")
	delete(after, "configurations")
	if len(before) == 0 {
		delete(after, "version")
	}
	if len(before)+len(after) > 0 && !reflect.DeepEqual(before, after) {
		t.Errorf("the file has %v, want %v", after, before)
	}
	ours := -1
	for i, conf := range got {
		c, _ := conf.(map[string]any)
		if ours < 0 && c["name"] == "dapbridge: containerd" {
			ours = i
			if c["host"] != "127.0.0.1" || c["port"] != 2345. || c["mode"] != "remote" || c["debugAdapter"] != "dlv-dap" {
				t.Errorf("configuration %v", c)
			}
		} else if i >= len(want) || !reflect.DeepEqual(conf, want[i]) {
			t.Errorf("configuration %d is %v", i, conf)
		}
	}
	if ours < 0 || len(got) < len(want) || len(got) > len(want)+1 {
		t.Errorf("%d configurations of %d, ours is %d", len(got), len(want), ours)
	}
}

func parseStandard(t *testing.T, text []byte) map[string]any {
	text = bytes.TrimPrefix(text, []byte("\uFEFF"))
	std, err := hujson.Standardize(slices.Concat(text, []byte("\n")))
	if err != nil {
		if len(bytes.TrimSpace(text)) == 0 || len(findComments(text)) > 0 {
			return nil // there are only comments
		}
		t.Fatalf("%v in\n%s", err, text)
	}
	var v map[string]any
	if err := json.Unmarshal(std, &v); err != nil {
		t.Skip(err) // too deep, or a number out of range
	}
	return v
}
