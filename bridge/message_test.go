package bridge

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dapbridge/dapbridge/pathmap"
)

func TestScanEnvelope(t *testing.T) {
	const body = ` {"seq": 12,"type":"response","x":[{"seq":1}],"request\u005fseq":-3,"success":true,"command":"st\u0065p","event":"e",` +
		`"message":"m","arguments":{"a":"}"},"body":[1,2]}` + "\n"
	env, err := scanEnvelope([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := envelope{Type: "response", Seq: 12, RequestSeq: -3, Success: true, Command: "step", Event: "e"}
	checkValues(t, env, want)
	for at, want := range map[span]string{
		env.seq: "12", env.requestSeq: "-3", env.success: "true", env.command: `"st\u0065p"`, env.event: `"e"`,
		env.message: `"m"`, env.arguments: `{"a":"}"}`, env.body: "[1,2]", env.typ: `"response"`,
	} {
		if got := at.in([]byte(body)); string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if env, err := scanEnvelope([]byte(`{}`)); err != nil || env.seq != (span{}) || env.body != (span{}) {
		t.Errorf("empty message: %+v, %v", env, err)
	}
}

func TestScanEnvelopeRefuses(t *testing.T) {
	for body, want := range map[string]string{
		``:                                 "not a JSON object",
		`[]`:                               "not a JSON object",
		`"seq"`:                            "not a JSON object",
		`{`:                                "malformed JSON",
		`{"seq":1`:                         "malformed JSON",
		`{"seq":1,}`:                       "malformed JSON",
		`{"seq":1} 2`:                      "malformed JSON",
		`{"seq":1}}`:                       "malformed JSON",
		`{"seq" 1}`:                        "malformed JSON",
		`{"seq":}`:                         "malformed JSON",
		`{seq:1}`:                          "malformed JSON",
		`{"seq":1 "type":"x"}`:             "malformed JSON",
		`{"body":{"a":tru}}`:               "malformed JSON",
		"{\"body\":\"a\nb\"}":              "malformed JSON",
		`{"seq":1.0}`:                      "seq",
		`{"seq":1e3}`:                      "seq",
		`{"seq":"1"}`:                      "seq",
		`{"seq":null}`:                     "seq",
		`{"seq":9223372036854775808}`:      "seq",
		`{"request_seq":true}`:             "request_seq",
		`{"type":1}`:                       "type: 1 is not a string",
		`{"command":null}`:                 "command: null is not a string",
		`{"success":"true"}`:               "neither true nor false",
		`{"seq":1,"seq":1}`:                "seq occurs twice",
		`{"body":1,"bo\u0064y":1}`:         "body occurs twice",
		`{"command":"a","Command":"b"}`:    `"Command" is not "command"`,
		`{"command":"a","ARGUMENTS":{}}`:   `"ARGUMENTS" is not "arguments"`,
		`{"` + "\u017f" + `eq":1}`:         `is not "seq"`, // encoding/json folds the long s
		`{"reque\u017ft_seq":1}`:           `is not "request_seq"`,
		strings.Repeat("[", 100_000):       "not a JSON object",
		strings.Repeat(`{"a":`, 1_000_000): "malformed JSON",
	} {
		env, err := scanEnvelope([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: error %v, want %s", body, err, want)
		}
		if env != (envelope{}) {
			t.Errorf("%.80s: got %+v with an error", body, env)
		}
	}
}

func TestRenumber(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"seq":1,"type":"request"}`, `{"seq":70,"type":"request"}`},
		{`{"request_seq": 5 , "seq":  1}`, `{"request_seq": 8 , "seq":  70}`},
		{` { "type":"request"} `, ` {"seq":70, "type":"request"} `},
		{`{"request_seq":5}`, `{"seq":70,"request_seq":8}`},
		{`{ }`, `{"seq":70 }`},
		{`{"arguments":{"seq":1},"seq":2}`, `{"arguments":{"seq":1},"seq":70}`},
	} {
		env, err := scanEnvelope([]byte(c.in))
		if err != nil {
			t.Fatal(err)
		}
		if got := renumber([]byte("x"), []byte(c.in), env, 70, 8); string(got) != "x"+c.want {
			t.Errorf("%s became %s, want %s", c.in, got[1:], c.want)
		}
	}
}

// checkValues compares the values of two envelopes, but not their positions.
func checkValues(t *testing.T, got, want envelope) {
	t.Helper()
	got = envelope{Type: got.Type, Command: got.Command, Event: got.Event, Seq: got.Seq, RequestSeq: got.RequestSeq, Success: got.Success}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// FuzzScanEnvelope compares scanEnvelope and renumber with encoding/json.
func FuzzScanEnvelope(f *testing.F) {
	for _, line := range readRecording(f) {
		f.Add([]byte(line.Message))
	}
	f.Add([]byte(`{"s\u0065q":1,"command":"\ud800","body":{"a":[]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		env, err := scanEnvelope(body)
		again, errAgain := readEnvelope(&pathmap.Rewriter{}, new(pathmap.Edits), body)
		if again != env || (err == nil) != (errAgain == nil) {
			t.Fatalf("%q: %+v, %v, and while mapping %+v, %v", body, env, err, again, errAgain)
		}
		if err != nil {
			if isAcceptable(body) {
				t.Fatalf("refused %q: %v", body, err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("took malformed %q", body)
		}
		checkEnvelope(t, env, body)
		checkRenumber(t, env, body)
	})
}

// isAcceptable reports whether scanEnvelope should accept body.
func isAcceptable(body []byte) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); !json.Valid(body) || err != nil || open != json.Delim('{') {
		return false
	}
	seen := map[string]bool{}
	for d.More() {
		var raw json.RawMessage
		name, _ := d.Token()
		if err := d.Decode(&raw); err != nil || bytes.Count(raw, []byte("[")) > 500 || bytes.Count(raw, []byte("{")) > 500 {
			return false
		}
		key, env := name.(string), envelope{}
		if env.field([]byte(key)) == nil {
			if checkSpelling([]byte(key)) != nil {
				return false
			}
			continue
		}
		if seen[key] || !hasFieldType(key, raw) {
			return false
		}
		seen[key] = true
	}
	return true
}

// hasFieldType reports whether a member of the envelope has a value of its type.
func hasFieldType(key string, raw json.RawMessage) bool {
	var text string
	var number int64
	var truth bool
	var err error
	switch key {
	case "type", "command", "event":
		err = json.Unmarshal(raw, &text)
	case "seq", "request_seq":
		err = json.Unmarshal(raw, &number)
	case "success":
		err = json.Unmarshal(raw, &truth)
	default:
		return true
	}
	return err == nil && string(raw) != "null"
}

func checkEnvelope(t *testing.T, env envelope, body []byte) {
	var want struct {
		Type, Command, Event string
		Seq                  int64
		RequestSeq           int64 `json:"request_seq"`
		Success              bool
	}
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatalf("took what encoding/json does not: %v", err)
	}
	for _, text := range [][2]string{{env.Type, want.Type}, {env.Command, want.Command}, {env.Event, want.Event}} {
		if utf8.ValidString(text[0]) && text[0] != text[1] {
			t.Fatalf("got %q, want %q", text[0], text[1])
		}
	}
	if env.Seq != want.Seq {
		t.Fatalf("seq is %d, want %d", env.Seq, want.Seq)
	}
	if env.RequestSeq != want.RequestSeq {
		t.Fatalf("request_seq is %d, want %d", env.RequestSeq, want.RequestSeq)
	}
	if env.Success != want.Success {
		t.Fatalf("success is %v, want %v", env.Success, want.Success)
	}
}

func checkRenumber(t *testing.T, env envelope, body []byte) {
	out := renumber(nil, body, env, 71, 72)
	want, got := decodeMembers(t, body), decodeMembers(t, out)
	want["seq"] = json.RawMessage("71")
	if env.requestSeq != (span{}) {
		want["request_seq"] = json.RawMessage("72")
	}
	checkMembers(t, got, want)
	again, err := scanEnvelope(out)
	if err != nil {
		t.Fatalf("%q became %q: %v", body, out, err)
	}
	back := renumber(nil, out, again, env.Seq, env.RequestSeq)
	if isCanonical(env, body) && !bytes.Equal(back, body) {
		t.Fatalf("%q came back as %q", body, back)
	}
}

// isCanonical reports whether the numbers are present and written canonically, unlike
// -0.
func isCanonical(env envelope, body []byte) bool {
	return string(env.seq.in(body)) == strconv.FormatInt(env.Seq, 10) &&
		(env.requestSeq == (span{}) || string(env.requestSeq.in(body)) == strconv.FormatInt(env.RequestSeq, 10))
}

// decodeMembers decodes an object, the last of several members of a name winning.
func decodeMembers(t *testing.T, obj []byte) map[string]json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(obj, &m); err != nil {
		t.Fatalf("%q: %v", obj, err)
	}
	return m
}

func checkMembers(t *testing.T, got, want map[string]json.RawMessage) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d members, want %d: %s, %s", len(got), len(want), got, want)
	}
	for name, raw := range want {
		if !bytes.Equal(got[name], raw) {
			t.Fatalf("%q is %s, want %s", name, got[name], raw)
		}
	}
}

func BenchmarkScanEnvelope(b *testing.B) {
	big := []byte(`{"seq":1,"type":"response","request_seq":2,"success":true,"command":"variables","body":{"variables":[` +
		strings.Repeat(`{"name":"field","value":"*server.criService {config: (*\"config.Config\")(0x1dd33da)}","variablesReference":3},`, 180_000) + `{}]}}`)
	small := []byte(`{"seq":1,"type":"response","request_seq":2,"success":true,"command":"next"}`)
	for name, body := range map[string][]byte{"20MB": big, "small": small} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := scanEnvelope(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
