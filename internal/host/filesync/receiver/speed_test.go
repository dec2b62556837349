package receiver

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

func TestSpeedGauge(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrived int64
		took    time.Duration
		slow    bool
	}{
		{"all at once", 1 << 20, 0, false},
		{"a local node", 50 << 20, 2 * time.Second, false},
		{"10 Mbit/s", 1 << 20, time.Second, true},
		{"too little to judge", 100 << 10, time.Minute, false},
		{"a moment's stall", 300 << 10, 200 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s speedGauge
				s.startRun()
				time.Sleep(tt.took)
				s.add(tt.arrived)
				if got := s.slow.Load(); got != tt.slow {
					t.Errorf("slow is %v, want %v", got, tt.slow)
				}
			})
		})
	}
}

// TestSpeedGaugeRemembers checks that the gauge keeps its judgement until a run shows
// something else.
func TestSpeedGaugeRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s speedGauge
		for _, run := range []struct {
			arrived int64
			slow    bool
		}{{1 << 20, true}, {1 << 10, true}, {8 << 20, true}, {20 << 20, false}, {1 << 10, false}} {
			s.startRun()
			time.Sleep(time.Second)
			if s.add(run.arrived); s.slow.Load() != run.slow {
				t.Errorf("after %d bytes in a second slow is %v, want %v", run.arrived, !run.slow, run.slow)
			}
		}
	})
}

// TestSlowConnection checks that what is sent over 1 MB/s is compressed and arrives
// intact.
func TestSlowConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, 1<<20, 0)
		noise := make([]byte, 200_000)
		_, _ = rand.Read(noise)
		changes, size := []Change{}, 0
		add := func(name, text string) {
			writeMode(t, filepath.Join(s.host, name), text, 0o644)
			changes = append(changes, s.put(t, name))
			size += len(text)
		}
		for i := range 600 {
			add(fmt.Sprint("f", i), strings.Repeat(fmt.Sprintf("line %d of a program's source\n", i), 170))
		}
		// Compressed data refers to earlier data, even to that of a file that cannot be written.
		add("none/f", strings.Repeat("its directory does not exist\n", 1000))
		add("like it", strings.Repeat("its directory does not exist\n", 1000))
		add("large", strings.Repeat("0123456789abcdef ghijklmnopqrstuvwxyz\n", 80_000))
		add("noise", string(noise))
		add("empty", "")
		for path, r := range s.apply(t, changes...) {
			if path == "none/f" {
				if r.Err == nil {
					t.Error("a file was put into a directory that does not exist")
				}
				continue
			}
			checkDone(t, path, r)
			checkContent(t, filepath.Join(s.top, path), content(t, filepath.Join(s.host, path)))
		}
		s.close()
		if !s.client.IsSlow() {
			t.Error("the connection is not regarded as slow")
		}
		if sent := s.toNode.bytes; sent > size/2 {
			t.Errorf("%d bytes were sent of %d, want half at most", sent, size)
		}
	})
}

// TestMalformedCompression checks that malformed data ends the receiver.
func TestMalformedCompression(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func([]byte) []byte
		want   error
	}{
		"intact":         {func(b []byte) []byte { return b }, nil},
		"cut":            {func(b []byte) []byte { return b[:len(b)-8] }, frame.ErrMalformed},
		"not compressed": {func(b []byte) []byte { return append(b[:2:2], "not compressed at all"...) }, frame.ErrMalformed},
		"too long":       {func(b []byte) []byte { return append([]byte{0xff, 0xff, 0x7f}, b...) }, frame.ErrMalformed},
		"empty":          {func([]byte) []byte { return nil }, frame.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			var in bytes.Buffer
			w := frame.NewWriter(&in)
			w.AppendEntry(tree.Entry{Path: "f", Kind: tree.File, Size: 100, Perm: 0o644})
			w.AppendEntry(tree.Entry{Path: "f"})
			_ = w.Send(frame.KindPut)
			var packed bytes.Buffer
			packer := frame.NewWriter(&packed)
			_ = packer.SendData(bytes.Repeat([]byte("x"), 100), true)
			_ = packer.Flush()
			w.AppendRaw(tt.damage(packed.Bytes()[5:]))
			_ = w.Send(frame.KindPacked)
			_ = w.Flush()
			_, top := dirs(t)
			err := receive.Serve(receive.Config{Top: top, In: &in, Out: io.Discard})
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			checkNoTemporary(t, top)
		})
	}
}
