//go:build linux

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-dap"
	"go.uber.org/goleak"

	"github.com/dapbridge/dapbridge/internal/agent/supervisor"
	"github.com/dapbridge/dapbridge/internal/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCapabilities(t *testing.T) {
	raw, err := Capabilities()
	if err != nil {
		t.Fatal(err)
	}
	var caps dap.Capabilities
	if err := json.Unmarshal(raw, &caps); err != nil {
		t.Fatal(err)
	}
	for what, has := range map[string]bool{
		"configurationDone": caps.SupportsConfigurationDoneRequest, "function breakpoints": caps.SupportsFunctionBreakpoints, "logpoints": caps.SupportsLogPoints,
	} {
		if !has {
			t.Errorf("no %s: %s", what, raw)
		}
	}
}

// newJoin returns a session's descriptors as a worker receives them, their other ends,
// and how the joining process ended.
func newJoin(t *testing.T, token string) (j supervisor.JoinRequest, toWorker, fromWorker *os.File, ended chan error) {
	t.Helper()
	name := "@dapbridge-" + api.NewToken()
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	in, toWorker, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromWorker, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() {
		ended <- supervisor.Join(context.WithoutCancel(t.Context()), name, token, in, out)
		in.Close()
		out.Close()
	}()
	if j, err = supervisor.AcceptJoin(ln); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		toWorker.Close()
		fromWorker.Close()
	})
	return j, toWorker, fromWorker, ended
}

func frame(body string) string { return string(frameMessage([]byte(body))) }

// Whole messages of the client reach Delve, and finally a request to pause.
func TestStreamReads(t *testing.T) {
	message := `{"seq":1,"type":"request","command":"threads"}`
	for name, tt := range map[string]struct{ sent, want string }{
		"nothing":      {"", frame(lastRequest)},
		"messages":     {frame(message) + frame("{}"), frame(message) + frame("{}") + frame(lastRequest)},
		"half a body":  {frame(message) + frame(message)[:40], frame(message) + frame(lastRequest)},
		"half a head":  {frame(message) + "Content-Len", frame(message) + frame(lastRequest)},
		"too long":     {"Content-Length: 99999999999\r\n\r\n", frame(lastRequest)},
		"not DAP":      {"GET / HTTP/1.1\r\n\r\n", frame(lastRequest)},
		"empty bodies": {frame("") + frame(""), frame("") + frame("") + frame(lastRequest)},
	} {
		t.Run(name, func(t *testing.T) {
			j, in, _, ended := newJoin(t, "token")
			j.Accept()
			s := newStream(j, api.DAP)
			go func() {
				io.WriteString(in, tt.sent)
				in.Close()
			}()
			got, _ := io.ReadAll(s)
			if string(got) != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if n, err := s.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("after the end: %d, %v", n, err)
			}
			s.Close()
			if err := <-ended; err != nil {
				t.Errorf("join: %v", err)
			}
		})
	}
}

// A stream that is closed while it is being read ends in the same way.
func TestStreamCloses(t *testing.T) {
	j, _, _, ended := newJoin(t, "token")
	j.Accept()
	s := newStream(j, api.DAP)
	time.AfterFunc(20*time.Millisecond, func() { s.Close() })
	if got, err := io.ReadAll(s); string(got) != frame(lastRequest) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("join: %v", err)
	}
}

// The two writes of a message arrive in one read.
func TestStreamWrites(t *testing.T) {
	j, _, out, ended := newJoin(t, "token")
	j.Accept()
	s := newStream(j, api.DAP)
	buf := make([]byte, 4<<20)
	for _, body := range []string{"{}", strings.Repeat("x", 60000)} {
		if err := dap.WriteBaseMessage(s, []byte(body)); err != nil {
			t.Fatal(err)
		}
		if n, err := out.Read(buf); err != nil || string(buf[:n]) != frame(body) {
			t.Errorf("%d bytes, %v; want %d", n, err, len(frame(body)))
		}
	}
	s.Close()
	if err := dap.WriteBaseMessage(s, []byte("{}")); err == nil {
		t.Error("a closed stream takes a message")
	}
	<-ended
}

func TestRegistry(t *testing.T) {
	for name, first := range map[string]string{"descriptors first": "put", "session first": "get"} {
		t.Run(name, func(t *testing.T) {
			j, _, _, ended := newJoin(t, "token")
			r := newRegistry()
			if first == "put" {
				r.put(j)
			} else {
				time.AfterFunc(20*time.Millisecond, func() { r.put(j) })
			}
			got, err := r.get(t.Context(), "token")
			if err != nil || got.In != j.In {
				t.Fatalf("%+v, %v", got, err)
			}
			if len(r.chans) != 0 {
				t.Errorf("kept: %v", r.chans)
			}
			select {
			case err := <-ended:
				t.Errorf("the joining process has left: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			got.Close()
			if err := <-ended; err != nil {
				t.Errorf("join: %v", err)
			}
		})
	}
}

func TestRegistryGivesUp(t *testing.T) {
	j, _, _, ended := newJoin(t, "unwanted")
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.put(j)
		start := time.Now()
		_, err := r.get(t.Context(), "wanted")
		if took := time.Since(start); err == nil || took != supervisor.JoinTimeout {
			t.Errorf("%v after %s", err, took)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.get(ctx, "wanted"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if len(r.chans) != 0 {
			t.Errorf("kept: %v", r.chans)
		}
	})
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "no such session") {
		t.Errorf("join: %v", err)
	}
}
