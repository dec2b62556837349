package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/daemon"
)

// TestPathsCommand has dapbridge explain the map of the node's containerd, and
// one file of it by its name here and its name there.
func TestPathsCommand(t *testing.T) {
	f := setup(t)
	paths := func(v any, args ...string) {
		t.Helper()
		cmd := f.command(short(t), userUID, append(append([]string{"paths", "-o", "json"}, f.nodeArgs()...), args...)...)
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, v)
		}
		if err != nil {
			t.Fatalf("dapbridge paths %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var p daemon.Paths
	paths(&p)
	if p.Problem != "" || p.Files < 3000 || p.Here < p.Files-10 || p.Target.PID != f.containerd(t) {
		t.Errorf("%d of %d files of pid %d; %s", p.Here, p.Files, p.Target.PID, p.Problem)
	}
	for _, asked := range []string{createContainerFile + ":60", f.file(createContainerFile) + ":60"} {
		var here, there daemon.FilePath
		paths(&here, asked)
		paths(&there, here.Node)
		if !here.Here || !here.InTarget || here.Line != 60 || here.Host != f.file(createContainerFile) {
			t.Errorf("%s: %+v", asked, here)
		}
		if there.Host != here.Host || there.Node != here.Node || !there.InTarget {
			t.Errorf("%s: %+v", here.Node, there)
		}
	}
}
