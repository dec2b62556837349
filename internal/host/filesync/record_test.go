package filesync_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapbridge/dapbridge/internal/host/filesync"
	"github.com/dapbridge/dapbridge/internal/testenv"
)

// TestListCopies lists the copies of valid records, the most recent first.
func TestListCopies(t *testing.T) {
	dir := t.TempDir()
	old := filesync.Copy{Dir: "/home/you/src/tool", Node: "minikube", To: "/home/docker/tool"}
	last := filesync.Copy{Dir: "/home/you/src/tool", Node: "dev", To: "/go/src/tool"}
	for name, c := range map[string]filesync.Copy{"a.jsonl": old, "b.jsonl": last, "c.jsonl": {}} {
		for range 2 { // rewriting the file keeps it
			r, err := filesync.OpenRecord(filepath.Join(dir, name), c)
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
		}
	}
	for name, text := range map[string]string{
		"d.jsonl": "", "e.jsonl": "no JSON\n", "f.jsonl": strings.Repeat(" ", 1<<20) + "{\"copy\":{\"dir\":\"/x\",\"to\":\"/y\"}}\n",
		"g.jsonl.new": "{\"copy\":{\"dir\":\"/x\",\"to\":\"/y\"}}\n", "h.jsonl": "{\"copy\":{\"dir\":\"/x\",\"to\":\"/y\"}}",
	} {
		testenv.WriteFile(t, filepath.Join(dir, name), text)
	}
	if err := os.Chtimes(filepath.Join(dir, "a.jsonl"), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, want := filesync.ListCopies(dir), []filesync.Copy{last, old}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := filesync.ListCopies(filepath.Join(dir, "none")); len(got) > 0 {
		t.Errorf("got %+v for a missing directory", got)
	}
}
