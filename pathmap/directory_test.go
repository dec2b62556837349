package pathmap

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Files of one directory in a row are mapped as each of them alone would be.
func TestFilesInARowAreMappedAsEachByItself(t *testing.T) {
	m := parseMap(t, "/host/c=/build/c", "/host/gen/one.go=/build/c/a/one.go", "/host/mod=example.com", `C:\src=/win`, "/host/rel=.")
	names := []string{
		"/build/c/a/zero.go", "/build/c/a/one.go", "/build/c/a/two.go", "/build/c/a/../b/three.go", "/build/c/a/b/four.go",
		"/build/c/b/five.go", "/build/c/b/.six.go", "/build/c/b/", "/build/c/b/seven.go", "/build/c/b/seven@v1.go",
		"/other/x/a.go", "/other/x/b.go", "/win/d/a.go", "/win/d/b.go", "/a.go", "/b.go", "/build/c/a/eight.go",
		"example.com/p/a.go", "example.com/p/b.go", "example.com/p@v1/a.go", "example.com/p/c@v1/a.go", "fmt/a.go", "fmt/b.go", "C:/x/a.go", "C:/x/b.go",
	}
	var want []string
	for _, name := range names {
		host, _ := m.ToHost(name)
		want = append(want, host)
	}
	list, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Result struct{ Sources []string } }
	out, _ := m.RewriteRPC(nil, []byte(`{"result":{"Sources":`+string(list)+`}}`), ToHost)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if !slices.Equal(got.Result.Sources, want) {
		t.Errorf("a list of files became\n%q, want\n%q", got.Result.Sources, want)
	}
}

// The same goes for text: the lines of a list are mapped as each of them alone would be.
func TestLinesOfAListAreMappedAsEachByItself(t *testing.T) {
	m := parseMap(t, "/host/c=/build/c", "/host/gen/one.go=/build/c/a/one.go")
	lines := []string{
		"/build/c/a/zero.go", "/build/c/a/one.go", "/build/c/a/two.go", "/build/c/a/a b.go", "/build/c/a/x=/build/c/a/y.go",
		"/build/c/a/z.go:12", "/build/c/a/", "/build/c/a/z.go", "see /build/c/a/z.go", "/build/c/a/b/z.go", "/other/z.go", "/other/y.go",
	}
	mapLine := func(text string) string {
		msg, err := json.Marshal(map[string]string{"output": text})
		if err != nil {
			t.Fatal(err)
		}
		out, _ := m.Rewrite(nil, msg, ToHost)
		var got struct{ Output string }
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return got.Output
	}
	var want []string
	for _, line := range lines {
		want = append(want, mapLine(line))
	}
	if got := strings.Split(mapLine(strings.Join(lines, "\n")), "\n"); !slices.Equal(got, want) {
		t.Errorf("the lines became\n%q, want\n%q", got, want)
	}
}

// A rule for a module whose path has one element does not cover another module below
// it, whose path has a version.
func TestModuleOfOneElement(t *testing.T) {
	m := parseMap(t, "/host/mod=example.com", "/host/rel=.")
	const node = "example.com/sub@v1.2.3/a.go"
	if got, _ := m.ToHost(node); got != "/host/rel/"+node {
		t.Errorf("%s is %s on the host, want it in /host/rel", node, got)
	}
}

func TestWriteEdited(t *testing.T) {
	msg := []byte(`{"body":{"source":{"path":"/node/c.go"}}}`)
	r := &Rewriter{Map: parseMap(t, "/host=/node")}
	var e Edits
	if err := r.Scan(&e, msg, ignoreMember); err != nil {
		t.Fatal(err)
	}
	e.Insert(Edit{Start: 1, End: 1, Text: []byte(`"seq":1,`)})
	var b bytes.Buffer
	if err := e.WriteEdited(&b, msg); err != nil {
		t.Fatal(err)
	}
	if want := `{"seq":1,"body":{"source":{"path":"/host/c.go"}}}`; b.String() != want {
		t.Errorf("wrote %s, want %s", b.String(), want)
	}
	if got := e.Apply(nil, msg); !bytes.Equal(got, b.Bytes()) {
		t.Errorf("Apply returns %s, WriteEdited wrote %s", got, b.String())
	}
}
