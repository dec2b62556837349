//go:build linux

package swap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/api"
	"github.com/dapbridge/dapbridge/internal/delta"
	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// pack returns a build as it is sent to a node with that former build, "" for one that
// the host does not know.
func pack(t *testing.T, build, former string) []byte {
	t.Helper()
	var was *io.SectionReader
	if former != "" {
		was = io.NewSectionReader(strings.NewReader(former), 0, int64(len(former)))
	}
	var out bytes.Buffer
	if err := delta.Write(&out, strings.NewReader(build), was); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestReceive receives a build completely or as a difference, and leaves nothing if
// that fails.
func TestReceive(t *testing.T) {
	former, build := strings.Repeat("former build\n", 50000), strings.Repeat("former build\n", 40000)+"edited"
	whole, differs := pack(t, build, ""), pack(t, build, former)
	for _, tt := range []struct {
		name  string
		in    io.Reader
		there string
		want  string // in the error; "" for none
	}{
		{"whole", bytes.NewReader(whole), former, ""},
		{"what differs", bytes.NewReader(differs), former, ""},
		{"what differs from another file", bytes.NewReader(differs), strings.ToUpper(former), "SHA-256"},
		{"what differs from a shorter file", bytes.NewReader(differs), former[:1000], "unexpected EOF"},
		{"cut in a piece", bytes.NewReader(differs[:len(differs)-1]), former, "unexpected EOF"},
		{"cut behind a piece", bytes.NewReader(pack(t, build[:256<<10], former)), former, "262144 bytes"},
		{"too much", io.MultiReader(bytes.NewReader(whole), bytes.NewReader(whole)), former, "520007 bytes"},
		{"lost", io.MultiReader(bytes.NewReader(whole[:100]), errorReader{}), former, "the connection is dead"},
		{"silent", io.MultiReader(bytes.NewReader(whole[:100]), silence{t.Context().Done()}), former, "nothing arrived for 200ms"},
		{"another format", strings.NewReader("\x1f\x8b\x08"), former, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "containerd")
			if err := os.WriteFile(path, []byte(tt.there), 0o755); err != nil {
				t.Fatal(err)
			}
			file, err := describeFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var reports []api.SwapProgress
			d := &deploy{
				Runner: &Runner{Report: func(p api.SwapProgress) { reports = append(reports, p) }, IdleTimeout: 200 * time.Millisecond},
				q:      api.DeployRequest{SHA256: sum(build), Size: int64(len(build))},
				view:   view{InspectResult: api.InspectResult{Path: path, SHA256: file.SHA256, Size: file.Size}, file: file},
			}
			err = d.receive(tt.in)
			checkReceived(t, err, tt.want)
			if want := (api.SwapProgress{Step: api.StepReceiving, Former: file.SHA256}); !slices.Equal(reports, []api.SwapProgress{want}) {
				t.Errorf("reports %+v, want %+v", reports, want)
			}
			if _, err := os.Lstat(siblingPath(path, "next")); (err == nil) != (tt.want == "") {
				t.Errorf("the file beside the executable: %v", err)
			}
		})
	}
}

// checkReceived checks that err is a failed upload with that text, or nil for "".
func checkReceived(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		testenv.Equal(t, "error", err, nil)
		return
	}
	testenv.Equal(t, "code", diag.CodeOf(err), diag.DeployShip)
	if !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("the connection is dead") }

// silence is a dead connection that blocks until the test ends.
type silence struct{ end <-chan struct{} }

func (s silence) Read([]byte) (int, error) {
	<-s.end
	return 0, io.EOF
}
