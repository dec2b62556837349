package agent

import (
	"bufio"
	"context"
	"log/slog"
	"os/exec"
	"testing"

	"github.com/dapbridge/dapbridge/internal/target"
)

// TestSettleKilled sends a SIGCONT after a debugger that was killed, and none
// after one that has detached.
func TestSettleKilled(t *testing.T) {
	for _, killed := range []bool{true, false} {
		cmd := exec.Command("sh", "-c", "trap 'echo continued' CONT; echo ready; read go; echo end")
		in, _ := cmd.StdinPipe()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		p, err := target.Find(context.Background(), target.Selector{PID: cmd.Process.Pid})
		if err != nil {
			t.Fatal(err)
		}
		if err := settle(process{PID: p.PID, StartTicks: p.StartTicks}, killed, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
		in.Write([]byte("\n"))
		lines.Scan()
		if got := lines.Text() == "continued"; got != killed {
			t.Errorf("killed %v, and it says %q", killed, lines.Text())
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
}
