//go:build linux

package worker

import (
	"encoding/json"
	"errors"

	"github.com/go-delve/delve/pkg/version"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
)

// methods returns Delve's methods that a session serves. It leaves out those that
// would end, replace or endanger the target; the bridge decides which of the others a
// client may call, and with which parameters.
func (s *rpcSession) methods() map[string]call {
	delve := rpc2.NewServer(rpcConfig(s.d), s.d.Debugger)
	served := map[string]call{
		"Command":   nil, // see rpcSession.runCommand
		"State":     s.waitState,
		"GetEvents": s.getEvents,

		"GetVersion":    wrapMethod(s.getVersion),
		"SetApiVersion": wrapMethod(setAPIVersion),

		"CancelDownloads": func(json.RawMessage) (any, error) {
			s.d.CancelDownloads()
			return rpc2.CancelDownloadsOut{}, nil
		},

		"AmendBreakpoint":           wrapMethod(delve.AmendBreakpoint),
		"Ancestors":                 wrapMethod(delve.Ancestors),
		"AttachedToExistingProcess": wrapMethod(delve.AttachedToExistingProcess),
		"BuildID":                   wrapMethod(delve.BuildID),
		"CancelNext":                wrapMethod(delve.CancelNext),
		"ClearBreakpoint":           wrapMethod(delve.ClearBreakpoint),
		"CreateBreakpoint":          wrapMethod(delve.CreateBreakpoint),
		"DebugInfoDirectories":      wrapMethod(delve.DebugInfoDirectories),
		"Disassemble":               wrapMethod(delve.Disassemble),
		"Eval":                      wrapMethod(delve.Eval),
		"ExamineMemory":             wrapMethod(delve.ExamineMemory),
		"FindLocation":              wrapMethod(delve.FindLocation),
		"FollowExecEnabled":         wrapMethod(delve.FollowExecEnabled),
		"FunctionReturnLocations":   wrapMethod(delve.FunctionReturnLocations),
		"GetBreakpoint":             wrapMethod(delve.GetBreakpoint),
		"GetBufferedTracepoints":    wrapMethod(delve.GetBufferedTracepoints),
		"GetThread":                 wrapMethod(delve.GetThread),
		"IsMulticlient":             wrapMethod(delve.IsMulticlient),
		"LastModified":              wrapMethod(delve.LastModified),
		"ListBreakpoints":           wrapMethod(delve.ListBreakpoints),
		"ListDynamicLibraries":      wrapMethod(delve.ListDynamicLibraries),
		"ListFunctionArgs":          wrapMethod(delve.ListFunctionArgs),
		"ListFunctions":             wrapMethod(delve.ListFunctions),
		"ListGoroutines":            wrapMethod(delve.ListGoroutines),
		"ListLocalVars":             wrapMethod(delve.ListLocalVars),
		"ListPackageVars":           wrapMethod(delve.ListPackageVars),
		"ListPackagesBuildInfo":     wrapMethod(delve.ListPackagesBuildInfo),
		"ListRegisters":             wrapMethod(delve.ListRegisters),
		"ListSources":               wrapMethod(delve.ListSources),
		"ListTargets":               wrapMethod(delve.ListTargets),
		"ListThreads":               wrapMethod(delve.ListThreads),
		"ListTypes":                 wrapMethod(delve.ListTypes),
		"ProcessPid":                wrapMethod(delve.ProcessPid),
		"Set":                       wrapMethod(delve.Set),
		"Stacktrace":                wrapMethod(delve.Stacktrace),
		"ToggleBreakpoint":          wrapMethod(delve.ToggleBreakpoint),
		"TypeInfo":                  wrapMethod(delve.TypeInfo),
	}
	qualified := make(map[string]call, len(served))
	for name, f := range served {
		qualified["RPCServer."+name] = f
	}
	return qualified
}

// waitState answers a State request once the target is halted.
func (s *rpcSession) waitState(params json.RawMessage) (any, error) {
	if err := decodeParams(params, &rpc2.StateIn{}); err != nil {
		return nil, err
	}
	state, err := s.d.State(false)
	return rpc2.StateOut{State: state}, err
}

// readState answers a State request that must not wait.
func (s *rpcSession) readState(json.RawMessage) (any, error) {
	state, err := s.currentState()
	return rpc2.StateOut{State: state}, err
}

// runningState answers a State request that must not wait, while the target runs.
func runningState(json.RawMessage) (any, error) {
	return rpc2.StateOut{State: &api.DebuggerState{Running: true}}, nil
}

// getVersion does what RPCServer.GetVersion does (service/rpccommon).
func (s *rpcSession) getVersion(_ api.GetVersionIn, out *api.GetVersionOut) error {
	out.DelveVersion = version.DelveVersion.String()
	out.APIVersion = 2
	return s.d.GetVersion(out)
}

// setAPIVersion does what RPCServer.SetApiVersion does (service/rpccommon).
func setAPIVersion(in api.SetAPIVersionIn, _ *api.SetAPIVersionOut) error {
	if in.APIVersion != 2 {
		return errors.New("unknown API version")
	}
	return nil
}
