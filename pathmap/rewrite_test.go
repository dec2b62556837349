package pathmap

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vector is a case in testdata/rewrite.
type vector struct {
	About     string
	Rules     []string
	Direction string
	In, Out   json.RawMessage // compared byte for byte
	Changed   int
	RoundTrip bool // Out comes back as In the other way
}

func TestRewriteVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/rewrite/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			v := readVector(t, file)
			m := parseMap(t, v.Rules...)
			dir, back := ToNode, ToHost
			if v.Direction == "toHost" {
				dir, back = back, dir
			}
			out, changed := m.Rewrite(nil, v.In, dir)
			if !bytes.Equal(out, v.Out) || changed != v.Changed {
				t.Errorf("%s:\n got %s (%d changed)\nwant %s (%d)", v.About, out, changed, v.Out, v.Changed)
			}
			if in, _ := m.Rewrite(nil, v.Out, back); v.RoundTrip && !bytes.Equal(in, v.In) {
				t.Errorf("%s, back:\n got %s\nwant %s", v.About, in, v.In)
			}
		})
	}
}

func readVector(t testing.TB, file string) vector {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// parseMap returns the Map of rules written HOST=NODE.
func parseMap(t testing.TB, rules ...string) *Map {
	t.Helper()
	parsed := make([]Rule, len(rules))
	for i, s := range rules {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed[i] = r
	}
	m, err := New(parsed...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRewriteLeavesMalformedMessages(t *testing.T) {
	m := parseMap(t, "/h=/n")
	const source = `{"source":{"path":"/h/a"}`
	for _, msg := range []string{
		"", " ", source, source + "}}", source + "} x", source + ",}", source + `,"a"}`, source + `,"a":}`,
		source + `,"a":01}`, source + `,"a":1.}`, source + `,"a":-}`, source + `,"a":+1}`, source + `,"a":1e}`,
		source + `,"a":tru}`, source + `,"a":"\x"}`, source + `,"a":"\u12g4"}`, source + ",\"a\":\"\n\"}",
		source + `,"a":"}`, source + `,"a":[1,]}`, source + `,"a":[1 2]}`, source + `,"a":[}`, source + `,a:1}`,
		source + ` "a":1}`, source + `,"a" 1}`, source + `,"a":nul}`, source + `,"a":"\`, source + `,"a":"\u00`,
	} {
		out, changed := m.Rewrite(make([]byte, 3, 100), []byte(msg), ToNode)
		if string(out) != msg || changed != 0 {
			t.Errorf("Rewrite(%q) = %q, %d", msg, out, changed)
		}
	}
}

func TestRewriteBoundsDepth(t *testing.T) {
	m := parseMap(t, "/h=/n")
	nested := func(depth int) []byte {
		return []byte(strings.Repeat("[", depth-2) + `{"source":{"path":"/h/a"}}` + strings.Repeat("]", depth-2))
	}
	if _, changed := m.Rewrite(nil, nested(maxDepth), ToNode); changed != 1 {
		t.Errorf("%d changes at depth %d", changed, maxDepth)
	}
	if _, changed := m.Rewrite(nil, nested(maxDepth+1), ToNode); changed != 0 {
		t.Errorf("%d changes at depth %d", changed, maxDepth+1)
	}
	hostile := bytes.Repeat([]byte("["), 10_000_000)
	if out, changed := m.Rewrite(nil, hostile, ToNode); changed != 0 || len(out) != len(hostile) {
		t.Error("a message of 10,000,000 brackets changed")
	}
	hostile = bytes.Repeat([]byte(`{"source":`), 1_000_000)
	if _, changed := m.Rewrite(nil, hostile, ToNode); changed != 0 {
		t.Error("a message of 1,000,000 open objects changed")
	}
}

func TestRewriteAppends(t *testing.T) {
	m := parseMap(t, "/h=/n")
	dst, msg := []byte("before "), []byte(`{"source":{"path":"/h/a"}}`)
	out, _ := m.Rewrite(dst, msg, ToNode)
	if want := `before {"source":{"path":"/n/a"}}`; string(out) != want {
		t.Errorf("got %s, want %s", out, want)
	}
	same := []byte(`{"source":{"path":"/x"}}`)
	if out, _ := m.Rewrite(dst, same, ToNode); &out[0] != &same[0] {
		t.Error("a message without a mapped path was copied")
	}
	for _, empty := range []*Map{nil, {}} {
		if out, changed := empty.Rewrite(dst, msg, ToNode); &out[0] != &msg[0] || changed != 0 {
			t.Error("the empty map changed a message")
		}
	}
}

func TestRewriteAllocatesNothingForNothing(t *testing.T) {
	m := parseMap(t, "/h=/n", "/same=/same")
	msg := []byte(`{"a":[1,2,{"sources":[{"path":"/x/y"},{"path":"\/z"},{"path":"/same/a.go"},{"path":"\/same/b.go"}]}]}`)
	if n := testing.AllocsPerRun(100, func() { m.Rewrite(nil, msg, ToNode) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSkipValue(t *testing.T) {
	for _, c := range []struct {
		msg   string
		start int
		want  int
	}{
		{`{"a":[1,"]"]} rest`, 0, 13},
		{`{"a": 12,"b":0}`, 5, 8},
		{`"a\"b"`, 0, 6},
		{`"a`, 0, -1},
		{`1`, 1, -1},
		{` null,`, 0, 5},
		{`]`, 0, -1},
	} {
		if got := SkipValue([]byte(c.msg), c.start); got != c.want {
			t.Errorf("SkipValue(%s, %d) = %d, want %d", c.msg, c.start, got, c.want)
		}
	}
}
