package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// TestListenNamesTheListener checks that the error names the process that already listens
// on the address.
func TestListenNamesTheListener(t *testing.T) {
	for _, spec := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "dap")} {
		first, addr, err := listen(spec)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		_, _, err = listen(addr)
		if diag.CodeOf(err) != diag.ListenFailed {
			t.Fatalf("second listener on %s: got %v, want %s", addr, err, diag.ListenFailed)
		}
		if want := fmt.Sprintf("pid %d (", os.Getpid()); !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %q, want …%s…", err, want)
		}
		if hint, want := diag.Hint(err), fmt.Sprintf("kill %d", os.Getpid()); !strings.Contains(hint, want) {
			t.Errorf("got the hint %q, want …%s…", hint, want)
		}
	}
}
