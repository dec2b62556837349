package pathmap

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	r := &Rewriter{Map: parseMap(t, "/host=/node")}
	const msg = ` {"id" : [1], "r\u0065sult":{"file":"/node/x.go","source":{"path":"/node/y.go"}},"error":null, "method":"x"}`
	for name, c := range map[string]struct {
		scan func(*Rewriter, *Edits, []byte, MemberFunc) error
		want string
	}{
		"DAP":      {(*Rewriter).Scan, strings.Replace(msg, "/node/y", "/host/y", 1)},
		"JSON-RPC": {(*Rewriter).ScanRPC, strings.Replace(msg, "/node/x", "/host/x", 1)},
	} {
		for r, want := range map[*Rewriter]string{r: c.want, {}: msg} {
			var members []string
			e := Edits{list: []edit{{start: 1}}} // of the message before
			err := c.scan(r, &e, []byte(msg), func(m Member) error {
				members = append(members, string(m.Name)+" "+msg[m.Start:m.End])
				return nil
			})
			if got := string(e.Apply(nil, []byte(msg))); err != nil || got != want {
				t.Errorf("%s: %s, %v, want %s", name, got, err, want)
			}
			if want := []string{"id [1]", `result {"file":"/node/x.go","source":{"path":"/node/y.go"}}`, "error null", `method "x"`}; !slices.Equal(members, want) {
				t.Errorf("%s: members %q, want %q", name, members, want)
			}
		}
	}
}

func TestScanErrors(t *testing.T) {
	r := &Rewriter{Map: parseMap(t, "/host=/node")}
	stop := errors.New("stop")
	for bad, want := range map[string]error{
		"": errNotObject, "[]": errNotObject, `"a"`: errNotObject, "{": errMalformed, `{"a":1}{`: errMalformed,
		`{"a":[}`: errMalformed, `{"a":` + strings.Repeat("[", 600): errMalformed, `{"\ud800":1}`: nil, `{"stop":1}`: stop, `{"a":{"stop":1}}`: nil,
	} {
		err := r.ScanRPC(new(Edits), []byte(bad), func(m Member) error {
			if string(m.Name) == "stop" {
				return stop
			}
			return nil
		})
		if err != want {
			t.Errorf("%.40s: %v, want %v", bad, err, want)
		}
	}
}

func TestDropResults(t *testing.T) {
	r := &Rewriter{Map: parseMap(t, "/host=/node")}
	const msg = `{"body":{"result":"/node/a.go:1 /node/b.go:2","source":{"path":"/node/c.go"}}}`
	var e Edits
	if err := r.Scan(&e, []byte(msg), ignoreMember); err != nil || e.Len() != 3 {
		t.Fatalf("%d changes, %v", e.Len(), err)
	}
	e.DropResults()
	if got, want := string(e.Apply([]byte("x"), []byte(msg))), "x"+strings.Replace(msg, "/node/c", "/host/c", 1); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := e.Size([]byte(msg)), len(e.Apply(nil, []byte(msg))); got != want {
		t.Errorf("Size is %d, and %d bytes were appended", got, want)
	}
}

// Edits are reused without allocation.
func TestScanReusesItsRoom(t *testing.T) {
	r := &Rewriter{Map: parseMap(t, "/host=/node")}
	msg := []byte(`{"body":{"source":{"path":"/node/c.go"}}}`)
	var e Edits
	if n := testing.AllocsPerRun(100, func() { r.Scan(&e, msg, ignoreMember) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func ignoreMember(Member) error { return nil }
