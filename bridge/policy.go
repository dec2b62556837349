package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/pathmap"
)

// This file is the policy for DAP: what must never reach the target, and is therefore
// not offered to the IDE.

// unsupportedCapabilities returns those of Delve's capabilities (DAP, Capabilities) that
// would end or endanger the target:
//   - terminate and restart: the target belongs to the node, and Delve's restart leaves
//     an attached target halted;
//   - data breakpoints: they sit in debug registers, which stay set when the worker is
//     killed and then kill the target.
func unsupportedCapabilities() []string {
	return []string{"supportsRestartRequest", "supportsTerminateRequest", "supportTerminateDebuggee", "supportSuspendDebuggee", "supportsDataBreakpoints"}
}

// clearCapabilities returns capabilities with every unsupported one set to false.
func clearCapabilities(capabilities []byte) []byte {
	for _, name := range unsupportedCapabilities() {
		if v, ok := member(capabilities, name); ok && string(v) != "false" {
			capabilities = setMember(capabilities, name, []byte("false"))
		}
	}
	return capabilities
}

// clearEventCapabilities is clearCapabilities for a capabilities event (DAP,
// Capabilities Event). Delve sends one that offers to terminate the target.
func clearEventCapabilities(body []byte) []byte {
	content, ok := member(body, "body")
	if !ok {
		return body
	}
	caps, ok := member(content, "capabilities")
	if !ok {
		return body
	}
	return setMember(body, "body", setMember(content, "capabilities", clearCapabilities(caps)))
}

// refusalReason returns why a request must not reach the node, or "" if it may.
func refusalReason(body []byte, env envelope) string {
	switch env.Command {
	case "restart":
		return "the target belongs to the node: restart it there (systemctl restart), then start the session again"
	case "dataBreakpointInfo":
		return "data breakpoints are not supported: they sit in debug registers, which would outlive a killed debugger"
	case "setDataBreakpoints":
		var r struct {
			Arguments struct{ Breakpoints []json.RawMessage }
		}
		if json.Unmarshal(body, &r) != nil || len(r.Arguments.Breakpoints) > 0 {
			return "data breakpoints are not supported: they sit in debug registers, which would outlive a killed debugger"
		}
	case "evaluate":
		return commandRefusal(body)
	}
	return ""
}

// delveCommandWords returns the words of one of Delve's own commands, which evaluate
// accepts with the prefix "dlv" (service/dap/command.go), or none for an expression.
func delveCommandWords(body []byte) ([]string, error) {
	var r struct{ Arguments struct{ Expression string } }
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	words := strings.Fields(r.Arguments.Expression)
	if len(words) == 0 || words[0] != "dlv" {
		return nil, nil
	}
	return words, nil
}

// commandRefusal is refusalReason for one of Delve's own commands.
func commandRefusal(body []byte) string {
	words, err := delveCommandWords(body)
	if err != nil {
		return "cannot read the request"
	}
	if len(words) < 3 {
		return ""
	}
	switch {
	case words[1] == "target" && words[2] != "list":
		return "other processes on the node are not followed: they could not be released safely"
	case words[1] == "config" && words[2] == "substitutePath" && len(words) > 3:
		return "paths are mapped by dapbridge: use --map HOST=NODE"
	}
	return ""
}

// attachArgs are the arguments of an attach or launch request that the bridge reads.
type attachArgs struct {
	ProcessID      json.RawMessage `json:"processId"`
	SubstitutePath []pathPair      `json:"substitutePath"`
	Symbols        string          `json:"symbols"`
}

// pathPair is an entry of the Go extension's substitutePath: the IDE's path and the
// debugger's.
type pathPair struct{ From, To string }

func (a attachArgs) rules() (rules []pathmap.Rule) {
	for _, p := range a.SubstitutePath {
		rules = append(rules, pathmap.Rule{Host: p.From, Node: p.To, Reason: "substitutePath of the IDE's configuration"})
	}
	return rules
}

// checkProcess fails if the arguments name a process other than the target, since the
// debugger would ignore that. An IDE sends a processId as a number or as a string; 0
// means none.
func (a attachArgs) checkProcess(t TargetInfo) error {
	pid, err := strconv.Atoi(strings.Trim(string(a.ProcessID), `"`))
	if err != nil || pid == 0 || pid == t.PID {
		return nil // an unresolved "${command:pickProcess}" or the like names no process
	}
	return diag.Errorf(diag.Usage, "processId is %d, but dapbridge serves %s, pid %d", pid, t.Name, t.PID).
		WithHint("remove processId from launch.json, or run dapbridge serve with --pid %d", pid)
}

// normalizeAttach turns an attach or launch request of any mode into an attach of mode
// remote, the only one that neither starts nor replaces a process
// (service/dap/server.go, onAttachRequest). Delve must not map paths, since the bridge
// does.
func normalizeAttach(body []byte) ([]byte, error) {
	args, ok := member(body, "arguments")
	if !ok || len(args) == 0 || args[0] != '{' {
		args = []byte("{}")
	}
	for _, name := range []string{"substitutePath", "guessSubstitutePath", "processId", "waitFor", "followExec", "followExecRegex", "symbols"} {
		args = deleteMember(args, name)
	}
	args = setMember(args, "mode", []byte(`"remote"`))
	if _, ok := member(args, "request"); ok {
		args = setMember(args, "request", []byte(`"attach"`))
	}
	if _, ok := member(args, "hideSystemGoroutines"); !ok {
		args = setMember(args, "hideSystemGoroutines", []byte("true"))
	}
	if !json.Valid(args) {
		return nil, errors.New("cannot read the arguments")
	}
	body = setMember(body, "arguments", args)
	return setMember(body, "command", []byte(`"attach"`)), nil
}

// normalizeInitialize returns an initialize request (DAP, InitializeRequest) with the
// only formats that Delve accepts, and the client's own, which the bridge converts.
// The defaults are Delve's.
func normalizeInitialize(body []byte) ([]byte, pathmap.Client, error) {
	var client pathmap.Client
	var r struct {
		Arguments struct {
			PathFormat      string `json:"pathFormat"`
			LinesStartAt1   *bool  `json:"linesStartAt1"`
			ColumnsStartAt1 *bool  `json:"columnsStartAt1"`
		} `json:"arguments"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, client, fmt.Errorf("read initialize: %w", err)
	}
	a := r.Arguments
	switch a.PathFormat {
	case "", "path":
	case "uri":
		client.URI = true
	default:
		return nil, client, fmt.Errorf("pathFormat %q is not supported, only \"path\" and \"uri\"", a.PathFormat)
	}
	client.Lines0 = a.LinesStartAt1 != nil && !*a.LinesStartAt1
	client.Columns0 = a.ColumnsStartAt1 != nil && !*a.ColumnsStartAt1
	args, ok := member(body, "arguments")
	if !ok || len(args) == 0 || args[0] != '{' {
		args = []byte("{}")
	}
	args = setMember(args, "pathFormat", []byte(`"path"`))
	args = setMember(args, "linesStartAt1", []byte("true"))
	args = setMember(args, "columnsStartAt1", []byte("true"))
	return setMember(body, "arguments", args), client, nil
}

// resumesTarget reports whether a request resumes the target.
func resumesTarget(command string) bool {
	switch command {
	case "continue", "next", "stepIn", "stepOut", "configurationDone":
		return true
	}
	return false
}
