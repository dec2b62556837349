package bridge

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func TestMember(t *testing.T) {
	for _, c := range []struct {
		obj, want string
		ok        bool
	}{
		{`{"a":1,"name": [1, 2] ,"b":2}`, "[1, 2]", true},
		{`{"n\u0061me":"x"}`, `"x"`, true},
		{`{"NAME":true}`, "true", true},
		{`{"name":1,"Name":2}`, "2", true},
		{`{"a":{"name":1}}`, "", false},
		{`{}`, "", false},
		{``, "", false},
		{`[{"name":1}]`, "", false},
		{`{"name":1`, "", false},
		{`{"name":1}x`, "", false},
	} {
		if got, ok := member([]byte(c.obj), "name"); string(got) != c.want || ok != c.ok {
			t.Errorf("member(%s) = %s, %v", c.obj, got, ok)
		}
	}
}

func TestSetAndDeleteMember(t *testing.T) {
	for _, c := range []struct{ obj, set, deleted string }{
		{`{"a":1,"name": 5 ,"b":2}`, `{"a":1,"name": true ,"b":2}`, `{"a":1 ,"b":2}`},
		{`{"name":5}`, `{"name":true}`, `{}`},
		{`{ "name":5 }`, `{ "name":true }`, `{  }`},
		{`{"name":5, "b":2}`, `{"name":true, "b":2}`, `{"b":2}`},
		{`{"a":1, "name":5}`, `{"a":1, "name":true}`, `{"a":1}`},
		{`{"a":1}`, `{"name":true,"a":1}`, `{"a":1}`},
		{`{ }`, `{"name":true }`, `{ }`},
		{``, `{"name":true}`, ``},
		{` null`, `{"name":true}`, ` null`},
		{`{"Name":5}`, `{"name":true}`, `{}`},
		{`{"name":5,"NAME":6,"b":1}`, `{"name":true,"b":1}`, `{"b":1}`},
		{`{"name":5,"b":1,"NAME":6}`, `{"name":true,"b":1}`, `{"b":1}`},
		{`{"b":1,"name":5,"NAME":6}`, `{"name":true,"b":1}`, `{"b":1}`},
		{`{"n\u0061me":5}`, `{"n\u0061me":true}`, `{}`},
		{`{"a":{"name":5}}`, `{"name":true,"a":{"name":5}}`, `{"a":{"name":5}}`},
		{`[1]`, `[1]`, `[1]`},
		{`{"name":5`, `{"name":5`, `{"name":5`},
		{`{"name":5,}`, `{"name":5,}`, `{"name":5,}`},
	} {
		obj := []byte(c.obj)
		if got := setMember(obj, "name", []byte("true")); string(got) != c.set {
			t.Errorf("setMember(%s) = %s, want %s", c.obj, got, c.set)
		}
		if got := deleteMember(obj, "name"); string(got) != c.deleted {
			t.Errorf("deleteMember(%s) = %s, want %s", c.obj, got, c.deleted)
		}
		if string(obj) != c.obj {
			t.Errorf("%s was written to", c.obj)
		}
	}
}

// FuzzSetMember compares member, setMember and deleteMember with encoding/json.
func FuzzSetMember(f *testing.F) {
	for _, obj := range []string{`{"a":1,"name":5,"b":2}`, `{"name":{},"NAME":[]}`, `{ }`, `{"name":1,"name":2,"x":3,"n\u0061me":4}`, `{"name":5,}`} {
		f.Add([]byte(obj))
	}
	f.Fuzz(func(t *testing.T, obj []byte) {
		var before map[string]json.RawMessage
		if json.Unmarshal(obj, &before) != nil || before == nil {
			if _, ok := member(obj, "name"); ok {
				t.Fatalf("a member of %q", obj)
			}
			return
		}
		checkMember(t, obj)
		rest := maps.Clone(before)
		maps.DeleteFunc(rest, func(name string, _ json.RawMessage) bool { return strings.EqualFold(name, "name") })
		checkMembers(t, decodeMembers(t, deleteMember(obj, "name")), rest)
		rest["name"] = json.RawMessage(`{"x":[1]}`)
		checkMembers(t, decodeMembers(t, setMember(obj, "name", rest["name"])), rest)
	})
}

func checkMember(t *testing.T, obj []byte) {
	var want struct{ Name *raw }
	if err := json.Unmarshal(obj, &want); err != nil {
		t.Fatal(err)
	}
	got, ok := member(obj, "name")
	switch {
	case ok && string(got) == "null": // encoding/json does not call UnmarshalJSON for it
	case ok != (want.Name != nil) || ok && !bytes.Equal(got, *want.Name):
		t.Fatalf("member(%q) = %q, %v, encoding/json finds %q", obj, got, ok, want.Name)
	}
}

// raw keeps the bytes of the last value that encoding/json gives it.
type raw []byte

func (r *raw) UnmarshalJSON(b []byte) error {
	*r = bytes.Clone(b)
	return nil
}
