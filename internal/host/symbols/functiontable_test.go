package symbols

import (
	"errors"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestDescribeFunctionTable(t *testing.T) {
	c := Config{Command: "dapbridge symbols --node ssh:n"}
	for name, tt := range map[string]struct {
		table api.FunctionTable
		why   error
		want  []string
	}{
		"not built": {api.FunctionTable{}, diag.Errorf(diag.TargetStripped, "x"), []string{
			"containerd is stripped, and its symbols have not been built", "lines, stacks, goroutines, breakpoints", "no variables, types or calls", "run: " + c.Command,
		}},
		"never": {api.FunctionTable{}, nil, []string{"not to be used (never)", "run: " + c.Command + ", and do not set symbols to never"}},
		"another program": {api.FunctionTable{}, diag.Errorf(diag.TwinDiffers, "main.f differs"), []string{
			"cannot be used: main.f differs", "name the directory of the exact source",
		}},
		"long": {api.FunctionTable{}, errors.New("one\ntwo"), []string{"cannot be used: one; so this session"}},
		"no goroutines": {api.FunctionTable{NoGoroutines: "no list"}, nil, []string{
			"lines, stacks, breakpoints", "no goroutines (no list), variables, types or calls",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.DescribeFunctionTable(api.Target{Process: api.Process{Exe: "/usr/bin/containerd"}}, tt.table, tt.why)
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s\ndoes not say %q", got, want)
				}
			}
			if strings.ContainsAny(got, "\n") {
				t.Errorf("%q has several lines", got)
			}
		})
	}
}
