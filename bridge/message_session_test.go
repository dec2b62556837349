package bridge

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/pathmap"
	"github.com/google/go-dap"
)

// A session passes through framing, renumbering and mapping byte for byte, except for
// numbers and paths, and the reverse mapping restores it.
func TestRecordedSessionPasses(t *testing.T) {
	m, err := pathmap.New(pathmap.Rule{Host: "/home/dev/containerd", Node: "/build/containerd"})
	if err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	w, r := newFrameWriter(&wire), newFrameReader(&wire, maxHeader, DefaultMaxBody)
	paths := 0
	for i, line := range readRecording(t) {
		env := scanRecorded(t, line)
		out := renumber(nil, line.Message, env, env.Seq+1000, env.RequestSeq+1000)
		out, changed := m.Rewrite(nil, out, pathmap.ToNode)
		paths += changed
		if want := expectedRelay(line.Message, env); string(out) != want {
			t.Fatalf("message %d:\n got %s\nwant %s", i, out, want)
		}
		if err := w.write(out); err != nil {
			t.Fatal(err)
		}
		body, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		back, changedBack := m.Rewrite(nil, body, pathmap.ToHost)
		env = scanRecorded(t, recordedMessage{line.From, back})
		back = renumber(nil, back, env, env.Seq-1000, env.RequestSeq-1000)
		if !bytes.Equal(back, line.Message) || changedBack != changed {
			t.Fatalf("message %d came back as\n%s, not\n%s", i, back, line.Message)
		}
	}
	if paths == 0 {
		t.Error("the session has no mapped path")
	}
}

// scanRecorded returns the envelope of a message, checked against go-dap.
func scanRecorded(t *testing.T, line recordedMessage) envelope {
	t.Helper()
	env, err := scanEnvelope(line.Message)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := dap.DecodeProtocolMessage(line.Message)
	if err != nil {
		t.Fatal(err)
	}
	want := envelope{Seq: int64(msg.GetSeq())}
	switch m := msg.(type) {
	case dap.RequestMessage:
		want.Type, want.Command = "request", m.GetRequest().Command
	case dap.ResponseMessage:
		r := m.GetResponse()
		want.Type, want.Command, want.RequestSeq, want.Success = "response", r.Command, int64(r.RequestSeq), r.Success
	case dap.EventMessage:
		want.Type, want.Event = "event", m.GetEvent().Event
	}
	got := envelope{Type: env.Type, Command: env.Command, Event: env.Event, Seq: env.Seq, RequestSeq: env.RequestSeq, Success: env.Success}
	if got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	return env
}

// expectedRelay returns what a recorded message should become. Plain replacement is
// enough: its numbers and paths look like nothing else in it.
func expectedRelay(msg []byte, env envelope) string {
	number := func(s, name string, n int64) string {
		old, now := strconv.FormatInt(n, 10), strconv.FormatInt(n+1000, 10)
		for _, end := range []string{",", "}"} {
			s = strings.Replace(s, `"`+name+`":`+old+end, `"`+name+`":`+now+end, 1)
		}
		return s
	}
	s := number(string(msg), "seq", env.Seq)
	if env.Type == "response" {
		s = number(s, "request_seq", env.RequestSeq)
	}
	return strings.ReplaceAll(s, `"path":"/home/dev/containerd/`, `"path":"/build/containerd/`)
}
