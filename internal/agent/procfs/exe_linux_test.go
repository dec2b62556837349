package procfs

import (
	"os"
	"os/exec"
	"testing"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/exe"
	"github.com/dapbridge/dapbridge/internal/exe/exetest"
)

func TestInspectExeOfReplacedFile(t *testing.T) {
	path := exetest.Build(t, "sleeper")
	pid := start(t, exec.Command(path))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := InspectExe(pid, (*exe.File).Build)
	if err != nil || b.MainPackage != exetest.SleeperPackage {
		t.Errorf("%+v, %v", b, err)
	}
	p, err := Find(t.Context(), api.Selector{PID: pid})
	if err != nil || p.Exe != path || !p.ExeDeleted {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestInspectExeOfAnotherLanguage(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo ready; read line")
	if b, err := InspectExe(start(t, cmd), (*exe.File).Build); diag.CodeOf(err) != diag.TargetNotGo {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestOpenExeStat compares the time of the open file with that of its path.
func TestOpenExeStat(t *testing.T) {
	file := exetest.Build(t, "sleeper")
	x, err := OpenExe(start(t, exec.Command(file)))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	want, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Stat(); err != nil || !got.ModTime().Equal(want.ModTime()) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
