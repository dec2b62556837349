package pathmap

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-dap"
)

// dapMembers are the members of DAP's types whose names look as if they could
// hold a path, a line or a column, and what they hold: "path", "line", "column",
// "text" for the user, or why they are not rewritten. A star stands for every type that
// is not named.
func dapMembers() map[string]string {
	const (
		bridged  = "the bridge's own business"
		number   = "a number of other things"
		refused  = "of a request of the node's, which is refused"
		typed    = "what a person types: Delve gets it as it is"
		variable = "of the target's own values"
	)
	return map[string]string{
		"*.Line":               "line",
		"*.EndLine":            "line",
		"*.Lines":              "line",
		"*.Column":             "column",
		"*.EndColumn":          "column",
		"CompletionItem.Start": "column",

		"Source.Path":           "path",
		"Module.Path":           "path",
		"Module.SymbolFilePath": "path",

		"*.Message":                   "text",
		"*.Description":               "text",
		"*.Label":                     "text",
		"*.Detail":                    "text",
		"*.Format":                    "text",
		"CompletionItem.Text":         "text",
		"CompletionsArguments.Text":   "text", // a request: never to the host
		"EvaluateResponseBody.Result": "text", // of Delve's own commands: see TestValuesStay
		"ExceptionDetails.StackTrace": "text",
		"OutputEventBody.Output":      "text",
		"StoppedEventBody.Text":       "text",

		"*.IndexedVariables":                    number,
		"*.NamedVariables":                      number,
		"*.StartFrame":                          number,
		"*.StartModule":                         number,
		"*.Start":                               number,
		"*.SelectionStart":                      number, // in the item's text
		"*.SourceReference":                     bridged,
		"Source.Origin":                         bridged,
		"InitializeRequestArguments.PathFormat": bridged,
		"InitializeRequestArguments.Locale":     "a language",
		"SourceBreakpoint.LogMessage":           typed,
		"*.ConditionDescription":                "Delve's own",
		"ErrorMessage.Url":                      "a page",
		"ErrorMessage.UrlLabel":                 "Delve's own",
		"CompletionItem.SortText":               "the order",
		"EvaluateArguments.Context":             "a word",
		"ProcessEventBody.StartMethod":          "a word",
		"DisassembledInstruction.Symbol":        "a function",
		"InvalidatedEventBody.StackFrameId":     number,
		"Module.SymbolStatus":                   "a word",
		"RunInTerminalRequestArguments.Args":    refused,
		"RunInTerminalRequestArguments.Cwd":     refused,
	}
}

// TestDAPMembers walks all messages that go-dap knows. Each member that may hold a path,
// a line or a column must be classified in dapMembers. Paths, lines and columns must be
// rewritten in both directions, text for the user only ToHost, and nothing else at all.
func TestDAPMembers(t *testing.T) {
	r := &Rewriter{Map: parseMap(t, "/host/src=/node/src"), Client: Client{Lines0: true, Columns0: true}}
	known, seen := dapMembers(), map[string]bool{}
	for _, msg := range dapMessages(t) {
		for _, f := range dapFields(reflect.TypeOf(msg).Elem(), nil) {
			key := f.name
			if _, ok := known[key]; !ok {
				key = "*" + f.name[strings.IndexByte(f.name, '.'):]
			}
			what, ok := known[key]
			if seen[key] = true; !ok && isSuspiciousDAP(f) {
				t.Errorf("%s may hold a path, a line or a column: look at it, and put it into dapMembers", f.name)
			}
			f.check(t, r, what)
		}
	}
	for name := range known {
		if !seen[name] {
			t.Errorf("%s is no member of DAP's", name)
		}
	}
}

func isSuspiciousDAP(f dapField) bool {
	if f.kind == reflect.Bool || strings.HasPrefix(f.name, "Capabilities.") {
		return false
	}
	name := f.name[strings.IndexByte(f.name, '.')+1:]
	return regexp.MustCompile(`(?i)file|path|dir|cwd|sourc|ur[il]|origin|image|symbol|loc|line|col|start|end|message|text|output|result|descr|format|stack|label|detail|args|variables$`).MatchString(name)
}

// dapField is a member of one of go-dap's types, a string or a number or several of
// them, and its path in a message.
type dapField struct {
	name string // with its type
	kind reflect.Kind
	path []string // of members, "[]" for an array's element
}

// dapFields returns the members that are reached from t by path.
func dapFields(t reflect.Type, path []string, above ...reflect.Type) (fields []dapField) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		below := path
		if !f.Anonymous {
			below = append(path[:len(path):len(path)], name)
		}
		of := f.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice && of.Elem().Kind() != reflect.Uint8 {
			if of.Kind() == reflect.Slice {
				below = append(below[:len(below):len(below)], "[]")
			}
			of = of.Elem()
		}
		switch of.Kind() {
		case reflect.Struct:
			if deep := append(above, t); strings.Count(fmt.Sprint(deep), " "+of.String()) < 2 { // a Source in a Source
				fields = append(fields, dapFields(of, below, deep...)...)
			}
		case reflect.String, reflect.Int, reflect.Bool:
			fields = append(fields, dapField{t.Name() + "." + f.Name, of.Kind(), below})
		}
	}
	return fields
}

// message returns a message that has nothing but the field, with value.
func (f dapField) message(value any) []byte {
	for i := len(f.path) - 1; i >= 0; i-- {
		if f.path[i] == "[]" {
			value = []any{value}
		} else {
			value = map[string]any{f.path[i]: value}
		}
	}
	raw, _ := json.Marshal(value)
	return raw
}

// check checks how values in the field, which dapMembers classifies as what, are
// rewritten.
func (f dapField) check(t *testing.T, r *Rewriter, what string) {
	t.Helper()
	type change struct{ node, host any }
	var values []change
	switch f.kind {
	case reflect.String:
		path, text := change{"/node/src/x.go", "/host/src/x.go"}, change{"at /node/src/x.go:12", "at /host/src/x.go:12"}
		if what != "path" && what != "text" {
			path.host = path.node
		}
		if what != "text" {
			text.host = text.node
		}
		values = []change{path, text}
	case reflect.Int:
		values = []change{{7, 7}}
		if what == "line" || what == "column" {
			values[0].host = 6
		}
	}
	for _, v := range values {
		node, host := f.message(v.node), f.message(v.host)
		if out, _ := r.ToHost(nil, node, false); string(out) != string(host) {
			t.Errorf("%s, %q: %s becomes %s, want %s", f.name, what, node, out, host)
		}
		if what == "text" {
			node = host // text is not mapped back
		}
		if out, _ := r.ToNode(nil, host); string(out) != string(node) {
			t.Errorf("%s, %q: %s becomes %s, want %s", f.name, what, host, out, node)
		}
	}
}

// dapMessages returns an empty message of each kind that go-dap knows: its tables are
// not exported, so their keys are read from its source.
func dapMessages(t *testing.T) (all []dap.Message) {
	file, _ := runtime.FuncForPC(reflect.ValueOf(dap.DecodeProtocolMessage).Pointer()).FileLine(0)
	source, err := os.ReadFile(strings.Replace(file, "codec.go", "schematypes.go", 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range regexp.MustCompile(`"(\w+)": +func\(\) Message \{`).FindAllSubmatch(source, -1) {
		for _, kind := range []string{"request", "response", "event"} {
			msg, err := dap.DecodeProtocolMessage(fmt.Appendf(nil, `{"type":%q,"command":%q,"event":%[2]q,"success":true}`, kind, key[1]))
			if err == nil {
				all = append(all, msg)
			}
		}
	}
	failure, err := dap.DecodeProtocolMessage([]byte(`{"type":"response","command":"next","success":false}`))
	if err != nil || len(all) < 90 {
		t.Fatalf("found %d messages, %v", len(all), err)
	}
	return append(all, failure)
}
