package idle

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestReader counts silence only while it waits for what it reads.
func TestReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		alive := Reader(io.MultiReader(strings.NewReader("slowly read"), r), time.Second)
		defer w.Close()
		defer alive.Close()
		buf := make([]byte, 11)
		if _, err := io.ReadFull(alive, buf[:6]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := io.ReadFull(alive, buf[6:]); err != nil || string(buf) != "slowly read" {
			t.Errorf("%q, %v", buf, err)
		}
		start := time.Now()
		if _, err := alive.Read(buf); err == nil || !strings.Contains(err.Error(), "nothing came for 1s") || time.Since(start) != time.Second {
			t.Errorf("silent: %v after %v", err, time.Since(start))
		}
	})
}
