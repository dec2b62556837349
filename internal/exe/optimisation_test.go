package exe

import (
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe/exetest"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

func optimisationOf(t *testing.T, path string) (Optimisation, error) {
	t.Helper()
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	return x.Optimisation()
}

func TestOptimisation(t *testing.T) {
	all := func(o Optimisation) bool { return o.Optimised == o.Packages && o.Main }
	none := func(o Optimisation) bool { return o.Optimised == 0 && !o.Main }
	onlyMain := func(o Optimisation) bool { return o.Optimised == 1 && o.Main }
	allButMain := func(o Optimisation) bool { return o.Optimised == o.Packages-1 && !o.Main }
	tests := []struct {
		name string
		args []string
		want func(Optimisation) bool
	}{
		{"plain", nil, all},
		{"debug", []string{"-gcflags=all=-N -l"}, none},
		{"debug pie", []string{"-gcflags=all=-N -l", "-buildmode=pie"}, none},
		{"debug DWARF 4", []string{"-gcflags=all=-N -l", "GOEXPERIMENT=nodwarf5"}, none},
		{"debug no compression", []string{"-gcflags=all=-N -l", "-ldflags=-compressdwarf=false"}, none},
		{"debug big endian", []string{"-gcflags=all=-N -l", "GOARCH=s390x"}, none},
		{"main only", []string{"-gcflags=-N -l"}, allButMain},
		{"no inlining", []string{"-gcflags=-l"}, all},
		{"main replaced", []string{"-gcflags=all=-N -l", "-gcflags=-B"}, onlyMain},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, err := optimisationOf(t, exetest.Build(t, "sleeper", test.args...))
			if err != nil || o.Packages < 20 || !test.want(o) {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

// Units of C code are not counted.
func TestOptimisationWithC(t *testing.T) {
	testenv.NeedsLinux(t, "it compiles C for Linux")
	testenv.NeedsTool(t, "gcc")
	o, err := optimisationOf(t, exetest.Build(t, "cgo", "CGO_ENABLED=1", "-gcflags=all=-N -l", "-buildmode=pie"))
	if err != nil || o.Packages < 20 || o.Optimised != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestOptimisationOfStripped(t *testing.T) {
	_, err := optimisationOf(t, exetest.Build(t, "sleeper", "-ldflags=-s -w"))
	if diag.CodeOf(err) != diag.TargetStripped {
		t.Error(err)
	}
}
