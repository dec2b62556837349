package bridge

import (
	"errors"
	"fmt"
)

// The policy for Delve's JSON-RPC (service/rpc2, service/rpccommon) lists the methods
// that may reach the node; no other may. A test fails for a Delve method that is not
// mentioned here.

// checkRPCMethod reports whether the bridge knows a method, by its name without
// "RPCServer.", and why it must not reach the node, or "" if it may.
func checkRPCMethod(name string) (why string, known bool) {
	switch name {
	case // the session
		"SetApiVersion", "GetVersion", "IsMulticlient", "AttachedToExistingProcess", "ProcessPid",
		"LastModified", "BuildID", "FollowExecEnabled", "ListTargets", "DebugInfoDirectories",
		"Detach", "GuessSubstitutePath":
	case // the program
		"ListSources", "ListFunctions", "ListTypes", "TypeInfo", "ListPackagesBuildInfo", "ListDynamicLibraries",
		"FindLocation", "FunctionReturnLocations", "Disassemble":
	case // breakpoints and tracepoints
		"CreateBreakpoint", "GetBreakpoint", "ListBreakpoints", "ClearBreakpoint", "ToggleBreakpoint", "AmendBreakpoint",
		"GetBufferedTracepoints":
	case // halting and running
		"State", "Command", "CancelNext", "GetEvents", "CancelDownloads":
	case // the halted target
		"ListGoroutines", "ListThreads", "GetThread", "Stacktrace", "Ancestors", "ListLocalVars", "ListFunctionArgs",
		"ListPackageVars", "ListRegisters", "Eval", "Set", "ExamineMemory":
	default:
		return rpcMethodRefusal(name)
	}
	return "", true
}

// rpcMethodRefusal returns why a method is refused, and whether Delve has it.
func rpcMethodRefusal(name string) (why string, known bool) {
	switch name {
	case "Restart":
		return "the target belongs to the node: restart it there (systemctl restart), then start the session again", true
	case "Recorded", "StopRecording", "Checkpoint", "ListCheckpoints", "ClearCheckpoint":
		return "the target is not a recording", true
	case "DumpStart", "DumpWait", "DumpCancel":
		return "core dumps are not taken: they would write files as root on the node", true
	case "FollowExec":
		return "other processes on the node are not followed: they could not be released safely", true
	case "CreateEBPFTracepoint":
		return "eBPF tracepoints are not supported: they would outlive a killed debugger", true
	case "CreateWatchpoint":
		return "watchpoints are not supported: they sit in debug registers, which would outlive a killed debugger", true
	case "SetExecutionPoint":
		return "jumps are not supported: the target would continue in a state that its code never reaches", true
	case "DownloadLibraryDebugInfo":
		return "debug information is not downloaded: root on the node would fetch it", true
	}
	return "", false
}

// rpcParamsRefusal returns why a request whose method may pass must not reach the node
// because of its parameters, or "" if it may.
func rpcParamsRefusal(name string, body []byte, env rpcEnvelope) string {
	switch name {
	case "Command":
		var in struct {
			Name string `json:"name"`
		}
		if err := env.decodeParams(body, &in); err != nil {
			return "cannot read the command"
		}
		return rpcCommandRefusal(in.Name)
	case "DebugInfoDirectories":
		var in struct{ Set bool }
		if err := env.decodeParams(body, &in); err != nil || in.Set {
			return "directories for debug information cannot be set: root on the node would read them"
		}
	}
	return ""
}

// rpcCommandRefusal returns why a command (service/api, DebuggerCommand) must not reach
// the node, or "" if it may.
func rpcCommandRefusal(name string) string {
	switch name {
	case "continue", "directionCongruentContinue", "next", "step", "stepOut", "stepInstruction", "nextInstruction",
		"call", "switchThread", "switchGoroutine", "halt":
		return ""
	case "rewind", "reverseStep", "reverseStepOut", "reverseStepInstruction", "reverseNextInstruction", "reverseNext":
		return "the target is not a recording: it cannot run backwards"
	}
	return fmt.Sprintf("unknown command %q", name)
}

// describeRPC returns what is to be remembered of a request until its answer.
func describeRPC(name string, body []byte, env rpcEnvelope) (p rpcPending) {
	var in struct {
		Name string `json:"name"`
	}
	switch {
	case name == "Eval":
		p.isValue = true
	case name == "Command" && env.decodeParams(body, &in) == nil:
		p.resumes = in.Name != "switchThread" && in.Name != "switchGoroutine" && in.Name != "halt"
		p.isValue = in.Name == "call"
	}
	return p
}

// methodNotFound returns JSON-RPC's error "method not found"; net/rpc has no codes.
func methodNotFound(method string) error { return errors.New("method not found: " + method) }
