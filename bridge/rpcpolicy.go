package bridge

import (
	"errors"
	"fmt"
)

// The policy for Delve's JSON-RPC (service/rpc2, service/rpccommon): a list of
// the methods that pass. Everything else does not. The test of this file goes
// through Delve's methods and fails for one that stands nowhere here.

// rpcMethod says whether the bridge knows a method, whose name lacks
// "RPCServer.", and why it must not reach the node, "" if it may.
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
	case // what is halted
		"ListGoroutines", "ListThreads", "GetThread", "Stacktrace", "Ancestors", "ListLocalVars", "ListFunctionArgs",
		"ListPackageVars", "ListRegisters", "Eval", "Set", "ExamineMemory":
	default:
		return rpcMethodRefusal(name)
	}
	return "", true
}

// rpcRefused says why a method of Delve's is refused.
func rpcMethodRefusal(name string) (why string, known bool) {
	switch name {
	case "Restart":
		return "the target belongs to the node: restart it there (systemctl restart), then start the session again", true
	case "Recorded", "StopRecording", "Checkpoint", "ListCheckpoints", "ClearCheckpoint":
		return "the target is not a recording", true
	case "DumpStart", "DumpWait", "DumpCancel":
		return "core dumps are not taken: they would write files as root on the node", true
	case "FollowExec":
		return "other processes of the node are not followed: they could not be let go safely", true
	case "CreateEBPFTracepoint":
		return "eBPF tracepoints are not supported: they would outlive a killed debugger", true
	case "CreateWatchpoint":
		return "watchpoints are not supported: they sit in debug registers, which would outlive a killed debugger", true
	case "SetExecutionPoint":
		return "jumps are not supported: the target would run on in a state that its code never makes", true
	case "DownloadLibraryDebugInfo":
		return "debug information is not downloaded: root on the node would fetch it", true
	}
	return "", false
}

// forbiddenParams says why a request must not reach the node though its method
// may, "" if it may.
func rpcParamsRefusal(name string, body []byte, env rpcEnvelope) string {
	switch name {
	case "Command":
		var in struct {
			Name string `json:"name"`
		}
		if err := env.decodeParams(body, &in); err != nil {
			return "the command can't be read"
		}
		return rpcCommandRefusal(in.Name)
	case "DebugInfoDirectories":
		var in struct{ Set bool }
		if err := env.decodeParams(body, &in); err != nil || in.Set {
			return "directories for debug information are not set: root on the node would read them"
		}
	}
	return ""
}

// forbiddenRPCCommand says why a command (service/api, DebuggerCommand) must not
// reach the node.
func rpcCommandRefusal(name string) string {
	switch name {
	case "continue", "directionCongruentContinue", "next", "step", "stepOut", "stepInstruction", "nextInstruction",
		"call", "switchThread", "switchGoroutine", "halt":
		return ""
	case "rewind", "reverseStep", "reverseStepOut", "reverseStepInstruction", "reverseNextInstruction", "reverseNext":
		return "the target is not a recording: it can't run backwards"
	}
	return fmt.Sprintf("unknown command %q", name)
}

// rpcResumes reports whether a request lets the target run.
func rpcResumesTarget(name string, body []byte, env rpcEnvelope) bool {
	var in struct {
		Name string `json:"name"`
	}
	if name != "Command" || env.decodeParams(body, &in) != nil {
		return false
	}
	switch in.Name {
	case "switchThread", "switchGoroutine", "halt":
		return false
	}
	return true
}

// errNoMethod is JSON-RPC's "method not found", in a protocol without codes.
func methodNotFound(method string) error { return errors.New("method not found: " + method) }
