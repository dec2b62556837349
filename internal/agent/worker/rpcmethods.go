//go:build linux

package worker

import (
	"encoding/json"
	"errors"

	"github.com/go-delve/delve/pkg/version"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// methods are those of Delve's that a session serves. What would end, replace
// or endanger the target is not among them; which of these a client may call,
// and with what, is the bridge's business.
func (s *rpcSession) methods() map[string]call {
	delve := rpc2.NewServer(rpcConfig(s.d), s.d.Debugger)
	served := map[string]call{
		"Command":   nil, // see rpcSession.command
		"State":     s.state,
		"GetEvents": s.getEvents,

		"GetVersion":    direct(s.getVersion),
		"SetApiVersion": direct(setAPIVersion),

		"CancelDownloads": func(json.RawMessage) (any, error) {
			s.d.CancelDownloads()
			return rpc2.CancelDownloadsOut{}, nil
		},

		"AmendBreakpoint":           direct(delve.AmendBreakpoint),
		"Ancestors":                 direct(delve.Ancestors),
		"AttachedToExistingProcess": direct(delve.AttachedToExistingProcess),
		"BuildID":                   direct(delve.BuildID),
		"CancelNext":                direct(delve.CancelNext),
		"ClearBreakpoint":           direct(delve.ClearBreakpoint),
		"CreateBreakpoint":          direct(delve.CreateBreakpoint),
		"DebugInfoDirectories":      direct(delve.DebugInfoDirectories),
		"Disassemble":               direct(delve.Disassemble),
		"Eval":                      direct(delve.Eval),
		"ExamineMemory":             direct(delve.ExamineMemory),
		"FindLocation":              direct(delve.FindLocation),
		"FollowExecEnabled":         direct(delve.FollowExecEnabled),
		"FunctionReturnLocations":   direct(delve.FunctionReturnLocations),
		"GetBreakpoint":             direct(delve.GetBreakpoint),
		"GetBufferedTracepoints":    direct(delve.GetBufferedTracepoints),
		"GetThread":                 direct(delve.GetThread),
		"IsMulticlient":             direct(delve.IsMulticlient),
		"LastModified":              direct(delve.LastModified),
		"ListBreakpoints":           direct(delve.ListBreakpoints),
		"ListDynamicLibraries":      direct(delve.ListDynamicLibraries),
		"ListFunctionArgs":          direct(delve.ListFunctionArgs),
		"ListFunctions":             direct(delve.ListFunctions),
		"ListGoroutines":            direct(delve.ListGoroutines),
		"ListLocalVars":             direct(delve.ListLocalVars),
		"ListPackageVars":           direct(delve.ListPackageVars),
		"ListPackagesBuildInfo":     direct(delve.ListPackagesBuildInfo),
		"ListRegisters":             direct(delve.ListRegisters),
		"ListSources":               direct(delve.ListSources),
		"ListTargets":               direct(delve.ListTargets),
		"ListThreads":               direct(delve.ListThreads),
		"ListTypes":                 direct(delve.ListTypes),
		"ProcessPid":                direct(delve.ProcessPid),
		"Set":                       direct(delve.Set),
		"Stacktrace":                direct(delve.Stacktrace),
		"ToggleBreakpoint":          direct(delve.ToggleBreakpoint),
		"TypeInfo":                  direct(delve.TypeInfo),
	}
	qualified := make(map[string]call, len(served))
	for name, f := range served {
		qualified["RPCServer."+name] = f
	}
	return qualified
}

// state waits for the target to be halted.
func (s *rpcSession) state(params json.RawMessage) (any, error) {
	if err := decodeParams(params, &rpc2.StateIn{}); err != nil {
		return nil, err
	}
	state, err := s.d.State(false)
	return rpc2.StateOut{State: state}, err
}

// stateNow answers a State that must not wait.
func (s *rpcSession) stateNow(json.RawMessage) (any, error) {
	state, err := s.currentState()
	return rpc2.StateOut{State: state}, err
}

// running answers a State that must not wait while the target runs.
func running(json.RawMessage) (any, error) {
	return rpc2.StateOut{State: &api.DebuggerState{Running: true}}, nil
}

// getVersion is service/rpccommon, RPCServer.GetVersion.
func (s *rpcSession) getVersion(_ api.GetVersionIn, out *api.GetVersionOut) error {
	out.DelveVersion = version.DelveVersion.String()
	out.APIVersion = 2
	return s.d.GetVersion(out)
}

// setAPIVersion is service/rpccommon, RPCServer.SetApiVersion.
func setAPIVersion(in api.SetAPIVersionIn, _ *api.SetAPIVersionOut) error {
	if in.APIVersion != 2 {
		return errors.New("unknown API version")
	}
	return nil
}
