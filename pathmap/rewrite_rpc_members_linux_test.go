package pathmap

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// delveMembers are the members of Delve's parameters and results whose names
// look as if they could hold a path, and what they hold: "path", "location" (an
// expression), or why they are not rewritten.
func delveMembers() map[string]string {
	const (
		object   = "an object, whose members are here too"
		local    = "of the node alone: no source"
		refused  = "of a method that is refused"
		bridged  = "of a parameter that the bridge takes away"
		variable = "of the target's own values"
		regex    = "a regular expression"
	)
	return map[string]string{
		"api.Breakpoint.File":                               "path",
		"api.Breakpoint.ExprString":                         "location",
		"api.Breakpoint.WatchExpr":                          variable,
		"api.Location.File":                                 "path",
		"api.Thread.File":                                   "path",
		"api.TracepointResult.File":                         "path",
		"api.PackageBuildInfo.Files":                        "path",
		"api.PackageBuildInfo.DirectoryPath":                "path",
		"api.PackageBuildInfo.ImportPath":                   "a package's name",
		"rpc2.ListSourcesOut.Sources":                       "path",
		"rpc2.FindLocationIn.Loc":                           "location",
		"rpc2.FindLocationOut.Locations":                    object,
		"rpc2.FindLocationOut.SubstituteLocExpr":            "location",
		"rpc2.FindLocationIn.SubstitutePathRules":           bridged,
		"rpc2.CreateBreakpointIn.LocExpr":                   "location",
		"rpc2.CreateBreakpointIn.SubstitutePathRules":       bridged,
		"api.ListGoroutinesFilter.Arg":                      "location",
		"api.AsmInstruction.Loc":                            object,
		"api.AsmInstruction.DestLoc":                        object,
		"api.Defer.DeferLoc":                                object,
		"api.Defer.DeferredLoc":                             object,
		"api.Goroutine.CurrentLoc":                          object,
		"api.Goroutine.UserCurrentLoc":                      object,
		"api.Goroutine.GoStatementLoc":                      object,
		"api.Goroutine.StartLoc":                            object,
		"rpc2.StacktraceOut.Locations":                      object,
		"api.Breakpoint.LoadLocals":                         "what to load",
		"api.BreakpointInfo.Locals":                         variable,
		"api.Stackframe.Locals":                             variable,
		"api.Variable.LocationExpr":                         "a DWARF expression",
		"api.DebuggerCommand.Expr":                          variable,
		"rpc2.EvalIn.Expr":                                  variable,
		"rpc2.CreateWatchpointIn.Expr":                      refused,
		"api.Breakpoint.CustomCommands":                     "commands of the client's own",
		"rpc2.RestartIn.NewRedirects":                       refused,
		"api.DebuggerState.TargetCommandLine":               local,
		"api.Target.CmdLine":                                local,
		"api.ProcessSpawnedEventDetails.Cmdline":            local,
		"api.Image.Path":                                    local,
		"api.BinaryInfoDownloadEventDetails.ImagePath":      local,
		"rpc2.DebugInfoDirectoriesIn.List":                  refused,
		"rpc2.DebugInfoDirectoriesOut.List":                 local,
		"rpc2.DumpStartIn.Destination":                      refused,
		"rpc2.RecordedOut.TraceDirectory":                   refused,
		"rpc2.GuessSubstitutePathIn.Args":                   bridged,
		"rpc2.GuessSubstitutePathOut.List":                  bridged,
		"api.GuessSubstitutePathIn.ClientGOROOT":            bridged,
		"api.GuessSubstitutePathIn.ClientModuleDirectories": bridged,
		"api.GuessSubstitutePathIn.ImportPathOfMainPackage": bridged,
		"rpc2.ListSourcesIn.Filter":                         regex,
		"rpc2.ListPackagesBuildInfoIn.IncludeFiles":         "a flag",
	}
}

// TestRPCMembers walks the parameters and results of all of Delve's methods. Each member
// that may hold a path must be classified in delveMembers; paths and locations must be
// rewritten, and nothing else.
func TestRPCMembers(t *testing.T) {
	m := parseMap(t, "/host/src/x.go=/node/src/x.go") // only the file, so that a line number after it matters
	known := delveMembers()
	for _, f := range delveFields() {
		what, ok := known[f.name]
		delete(known, f.name)
		if !ok {
			if isSuspicious(f.StructField) {
				t.Errorf("%s may hold a path: look at it, and put it into delveMembers", f.name)
			}
			what = ""
		}
		for form, path := range map[string]string{"path": "/node/src/x.go", "location": "/node/src/x.go:12"} {
			msg, ok := f.message(path)
			if !ok {
				continue
			}
			out, changed := m.RewriteRPC(nil, msg, ToHost)
			if want := what == form || form == "path" && what == "location"; (changed == 1) != want {
				t.Errorf("%s, %q: rewritten %d times as %s, want %v\n%s", f.name, what, changed, form, want, out)
			}
			if back, _ := m.RewriteRPC(nil, out, ToNode); string(back) != string(msg) {
				t.Errorf("%s comes back as %s", f.name, back)
			}
		}
	}
	for name := range known {
		t.Errorf("%s is no member of Delve's", name)
	}
}

func isSuspicious(f reflect.StructField) bool {
	name := regexp.MustCompile(`(?i)file|path|dir|source|loc|expr|goroot|cmd|command|destination|image|cwd`)
	return name.MatchString(f.Name) && !slices.Contains([]reflect.Kind{reflect.Int, reflect.Int64, reflect.Uint64, reflect.Bool}, f.Type.Kind())
}

// delveField is a member of one of Delve's types.
type delveField struct {
	reflect.StructField
	name  string // with its type
	owner reflect.Type
}

// message returns a response whose result has nothing but the field, with path.
func (f delveField) message(path string) ([]byte, bool) {
	v := reflect.New(f.owner)
	switch field := v.Elem().FieldByIndex(f.Index); field.Interface().(type) {
	case string:
		field.SetString(path)
	case []string:
		field.Set(reflect.ValueOf([]string{path}))
	default:
		return nil, false
	}
	raw, err := json.Marshal(map[string]any{"id": "/node/src/x.go", "result": v.Interface(), "error": nil})
	return raw, err == nil && strings.Count(string(raw), "/node/src") == 2
}

// delveFields returns the members of the types of all methods.
func delveFields() (fields []delveField) {
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			visit(t.Elem())
		case reflect.Struct:
			if seen[t] || !strings.Contains(t.PkgPath(), "/delve/service/") {
				return
			}
			seen[t] = true
			for i := range t.NumField() {
				f := t.Field(i)
				if f.Tag.Get("json") != "-" && f.IsExported() {
					if !f.Anonymous {
						fields = append(fields, delveField{f, fmt.Sprintf("%s.%s", t, f.Name), t})
					}
					visit(f.Type)
				}
			}
		}
	}
	server := reflect.TypeFor[*rpc2.RPCServer]()
	for i := range server.NumMethod() {
		for n := range server.Method(i).Type.NumIn() {
			visit(server.Method(i).Type.In(n))
		}
	}
	for _, t := range []reflect.Type{ // of the methods that answer by a callback
		reflect.TypeFor[rpc2.StateOut](), reflect.TypeFor[rpc2.CommandOut](), reflect.TypeFor[rpc2.GetEventsOut](),
		reflect.TypeFor[rpc2.RestartOut](), reflect.TypeFor[api.GetVersionIn](), reflect.TypeFor[api.GetVersionOut](),
		reflect.TypeFor[api.SetAPIVersionIn](), reflect.TypeFor[api.SetAPIVersionOut](),
	} {
		visit(t)
	}
	return fields
}
