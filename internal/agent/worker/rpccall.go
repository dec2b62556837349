//go:build linux

package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-delve/delve/service"
)

// answer serves a request with f, nil for an unknown method, and writes the answer.
// The request's id is returned unchanged.
func (s *rpcSession) answer(r rpcRequest, f call) {
	result, err := invoke(r, f)
	if len(r.ID) == 0 {
		r.ID = []byte("null")
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	out := &s.out
	out.Reset()
	fmt.Fprintf(out, `{"id":%s,"result":`, r.ID)
	if err == nil {
		head := out.Len()
		if err = json.NewEncoder(out).Encode(result); err != nil {
			out.Truncate(head)
		} else {
			out.Truncate(out.Len() - 1) // the newline
			out.WriteString(`,"error":null}`)
		}
	}
	if err != nil {
		problem, _ := json.Marshal(err.Error())
		fmt.Fprintf(out, `null,"error":%s}`, problem)
	}
	out.WriteByte('\n')
	s.conn.Write(out.Bytes()) // a failed write shows when the stream is read
	if out.Cap() > maxBuffer {
		s.out = bytes.Buffer{}
	}
}

// invoke calls f and converts a panic to an error: Delve panics at some inputs that it
// does not expect.
func invoke(r rpcRequest, f call) (result any, err error) {
	if f == nil {
		return nil, fmt.Errorf("unknown method: %s", r.Method)
	}
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, fmt.Errorf("internal debugger error: %v", p)
		}
	}()
	return f(r.Params)
}

// decodeParams decodes the single parameter of a request, which may be missing
// (net/rpc/jsonrpc, ReadRequestBody).
func decodeParams(params json.RawMessage, in any) error {
	list := [1]any{in}
	if len(params) > 0 {
		if err := json.Unmarshal(params, &list); err != nil {
			return fmt.Errorf("malformed request body: %w", err)
		}
	}
	return nil
}

// wrapMethod converts one of Delve's methods to a call.
func wrapMethod[In, Out any](f func(In, *Out) error) call {
	return func(params json.RawMessage) (any, error) {
		var in In
		if err := decodeParams(params, &in); err != nil {
			return nil, err
		}
		out := new(Out)
		return out, f(in, out)
	}
}

// rpcConfig is the configuration that some of Delve's methods read. A session has one
// client.
func rpcConfig(d *debuggee) *service.Config {
	return &service.Config{APIVersion: 2, Debugger: d.config, Listener: noListener{}}
}

// RPCMethods returns the names of the methods that a JSON-RPC session serves.
func RPCMethods() (names []string) {
	for name := range (&rpcSession{d: &debuggee{}}).methods() {
		names = append(names, strings.TrimPrefix(name, "RPCServer."))
	}
	return names
}
