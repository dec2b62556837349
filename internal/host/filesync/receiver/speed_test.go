package receiver

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/agent/receive"
	"github.com/dapbridge/dapbridge/internal/api/frame"
	"github.com/dapbridge/dapbridge/internal/api/tree"
)

func TestSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			what    string
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
			var s speedGauge
			s.begin()
			time.Sleep(tt.took)
			s.add(tt.arrived)
			if s.slow.Load() != tt.slow {
				t.Errorf("%s: slow is %v", tt.what, !tt.slow)
			}
		}
		// What a line is taken for holds until it has shown itself to be another.
		var s speedGauge
		for _, run := range []struct {
			arrived int64
			slow    bool
		}{{1 << 20, true}, {1 << 10, true}, {8 << 20, true}, {20 << 20, false}, {1 << 10, false}} {
			s.begin()
			time.Sleep(time.Second)
			if s.add(run.arrived); s.slow.Load() != run.slow {
				t.Errorf("after %d bytes in a second slow is %v", run.arrived, !run.slow)
			}
		}
	})
}

// TestSlowLine sends compressed over a line of 1 MB/s, and what arrives is right.
func TestSlowLine(t *testing.T) {
	host, top := dirs(t)
	fromHost, toNode, toHost := newPipe(t), newPipe(t), newPipe(t)
	var passed atomic.Int64
	ended := make(chan error, 2)
	go func() {
		buf := make([]byte, 10_000)
		for {
			n, err := fromHost.r.Read(buf)
			if err != nil {
				toNode.w.Close()
				ended <- nil
				return
			}
			passed.Add(int64(n))
			time.Sleep(time.Duration(n) * time.Microsecond)
			_, _ = toNode.w.Write(buf[:n])
		}
	}()
	go func() {
		ended <- receive.Serve(receive.Config{Top: top, Now: time.Unix(0, 0), In: toNode.r, Out: toHost.w})
	}()
	client, err := Connect(toHost.r, fromHost.w, func() {})
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{client: client, host: host, top: top}
	if p.root, err = os.OpenRoot(host); err != nil {
		t.Fatal(err)
	}
	defer p.root.Close()
	noise := make([]byte, 200_000)
	_, _ = rand.Read(noise)
	changes, size := []Change{}, int64(0)
	add := func(name, text string) {
		writeMode(t, filepath.Join(host, name), text, 0o644)
		changes = append(changes, p.put(t, name))
		size += int64(len(text))
	}
	for i := range 600 {
		add(fmt.Sprint("f", i), strings.Repeat(fmt.Sprintf("line %d of a program's source\n", i), 170))
	}
	add("none/f", strings.Repeat("its directory is not there\n", 1000)) // data that is not used
	add("like it", strings.Repeat("its directory is not there\n", 1000))
	add("large", strings.Repeat("0123456789abcdef ghijklmnopqrstuvwxyz\n", 80_000))
	add("noise", string(noise))
	add("empty", "")
	for path, r := range p.apply(t, changes...) {
		if (r.Err == nil) != (path != "none/f") {
			t.Errorf("%s: %v", path, r.Err)
		} else if r.Err == nil && content(t, filepath.Join(top, path)) != content(t, filepath.Join(host, path)) {
			t.Errorf("%s holds something else", path)
		}
	}
	if n := passed.Load(); !client.IsSlow() || n > size/2 {
		t.Errorf("%d bytes passed for %d, slow is %v", n, size, client.IsSlow())
	}
	fromHost.w.Close()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestPacked ends a receiver to which what is sent can't be unpacked.
func TestPacked(t *testing.T) {
	for what, damage := range map[string]func([]byte) []byte{
		"nothing":        func(b []byte) []byte { return b },
		"cut":            func(b []byte) []byte { return b[:len(b)-8] },
		"not compressed": func(b []byte) []byte { return append(b[:2:2], "not compressed at all"...) },
		"too long":       func(b []byte) []byte { return append([]byte{0xff, 0xff, 0x7f}, b...) },
		"empty":          func([]byte) []byte { return nil },
	} {
		var in bytes.Buffer
		w := frame.NewWriter(&in)
		e := tree.Entry{Path: "f", Kind: tree.File, Size: 100, Perm: 0o644}
		w.AppendEntry(e)
		w.AppendEntry(tree.Entry{Path: "f"})
		_ = w.Send(frame.KindPut)
		var packed bytes.Buffer
		packer := frame.NewWriter(&packed)
		_ = packer.SendData(bytes.Repeat([]byte("x"), 100), true)
		_ = packer.Flush()
		w.AppendRaw(damage(packed.Bytes()[5:]))
		_ = w.Send(frame.KindPacked)
		_ = w.Flush()
		_, top := dirs(t)
		err := receive.Serve(receive.Config{Top: top, In: &in, Out: io.Discard})
		if errors.Is(err, frame.ErrMalformed) != (what != "nothing") {
			t.Errorf("%s: it ended with %v", what, err)
		}
		nothingLeft(t, top)
	}
}
