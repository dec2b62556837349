package bridge

import (
	"reflect"
	"slices"
	"testing"

	"github.com/go-delve/delve/service/rpc2"
	"github.com/go-delve/delve/service/rpccommon"

	"github.com/dapbridge/dapbridge/internal/agent/worker"
)

// TestRPCMethods goes through Delve's methods: each must be classified, and the node
// must serve exactly those that may reach it.
func TestRPCMethods(t *testing.T) {
	served := worker.RPCMethods()
	own := []string{"Detach", "GuessSubstitutePath"} // which the bridge answers
	for _, server := range []reflect.Type{reflect.TypeFor[*rpc2.RPCServer](), reflect.TypeFor[*rpccommon.RPCServer]()} {
		for i := range server.NumMethod() {
			name := server.Method(i).Name
			why, known := checkRPCMethod(name)
			if !known {
				t.Errorf("%s is new: look at it, and put it into rpcpolicy.go", name)
			}
			if passes := known && why == "" && !slices.Contains(own, name); passes != slices.Contains(served, name) {
				t.Errorf("%s: passes %v, and is served %v", name, passes, !passes)
			}
			served = slices.DeleteFunc(served, func(s string) bool { return s == name })
		}
	}
	if len(served) > 0 {
		t.Errorf("%q are no methods of Delve's", served)
	}
}
