package symbols

import (
	"fmt"
	"path"
	"strings"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
)

// DescribeFunctionTable returns one line for the user of a session with a stripped target
// that has no more than its function table: what is missing, and what adds it. why is the
// error for which its symbols are not used; nil if they were not looked for.
func (c Config) DescribeFunctionTable(t api.Target, table api.FunctionTable, why error) string {
	goroutines, missing := "goroutines, ", "no variables, types or calls"
	if table.NoGoroutines != "" {
		goroutines, missing = "", fmt.Sprintf("no goroutines (%s), variables, types or calls", table.NoGoroutines)
	}
	reason, remedy := "and its symbols are not to be used (never)", "run: "+c.Command+", and do not set symbols to never"
	switch {
	case diag.CodeOf(why) == diag.TargetStripped:
		reason, remedy = "and its symbols have not been built", "run: "+c.Command
	case why != nil:
		text, _, _ := strings.Cut(why.Error(), "\n")
		reason, remedy = "and its symbols cannot be used: "+text, diag.Hint(why)
	}
	return fmt.Sprintf("%s is stripped, %s; so this session has lines, stacks, %sbreakpoints, and the words of a function's arguments at its entry, but %s; for those, %s",
		path.Base(t.Exe), reason, goroutines, missing, remedy)
}

// NoVariables returns why an expression cannot be evaluated in such a session.
func (c Config) NoVariables() string {
	return "no debug information, so no variables: run " + c.Command
}
