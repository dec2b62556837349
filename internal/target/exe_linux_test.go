package target

import (
	"os"
	"os/exec"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

func TestInspectExeOfReplacedFile(t *testing.T) {
	path := build(t, "sleeper")
	pid := start(t, exec.Command(path))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := InspectExe(pid, (*File).Build)
	if err != nil || b.MainPackage != sleeperPackage {
		t.Errorf("%+v, %v", b, err)
	}
	p, err := Find(t.Context(), Selector{PID: pid})
	if err != nil || p.Exe != path || !p.ExeDeleted {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestInspectExeOfAnotherLanguage(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo ready; read line")
	if b, err := InspectExe(start(t, cmd), (*File).Build); diag.CodeOf(err) != diag.TargetNotGo {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestOpenExeStat compares the time of the file with that of the path.
func TestOpenExeStat(t *testing.T) {
	file := build(t, "sleeper")
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
