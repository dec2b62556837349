package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// TestListenTakenBy names the process that has the address.
func TestListenTakenBy(t *testing.T) {
	for _, spec := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "dap")} {
		first, addr, err := listen(spec)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		_, _, err = listen(addr)
		if us := fmt.Sprintf("pid %d (", os.Getpid()); diag.CodeOf(err) != diag.ListenFailed || !strings.Contains(err.Error(), us) ||
			!strings.Contains(diag.Hint(err), fmt.Sprintf("kill %d", os.Getpid())) {
			t.Errorf("a second listener on %s: %v, hint: %s", addr, err, diag.Hint(err))
		}
	}
}
