package idle_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapbridge/dapbridge/internal/idle"
)

func TestTimer(t *testing.T) {
	silent := errors.New("silent")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, timer := idle.WithTimeout(t.Context(), time.Second, silent)
		defer timer.Stop()
		for range 3 {
			time.Sleep(900 * time.Millisecond)
			timer.Reset()
		}
		if err := ctx.Err(); err != nil {
			t.Fatalf("ended though it was reset in time: %v", err)
		}
		<-ctx.Done()
		if got, want := time.Since(start), 3700*time.Millisecond; got != want {
			t.Errorf("ended after %v, want %v", got, want)
		}
		if err := context.Cause(ctx); !errors.Is(err, silent) {
			t.Errorf("cause %v, want %v", err, silent)
		}
	})
}

func TestStoppedTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, timer := idle.WithTimeout(t.Context(), time.Second, errors.New("silent"))
		timer.Stop()
		if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cause %v, want %v", err, context.Canceled)
		}
	})
}

// Each read resets the timer, whatever it returns.
func TestTimerReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, timer := idle.WithTimeout(t.Context(), time.Second, errors.New("silent"))
		defer timer.Stop()
		r := timer.Reader(strings.NewReader("text"))
		for range 3 {
			time.Sleep(900 * time.Millisecond)
			_, _ = r.Read(make([]byte, 4))
		}
		<-ctx.Done()
		if got, want := time.Since(start), 3700*time.Millisecond; got != want {
			t.Errorf("ended after %v, want %v", got, want)
		}
	})
}

// Only the time during which the reader waits for its source counts.
func TestReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, w := io.Pipe()
		r := idle.NewReader(io.MultiReader(strings.NewReader("slowly read"), source), time.Second)
		defer w.Close()
		defer r.Close()
		buf := make([]byte, 11)
		if _, err := io.ReadFull(r, buf[:6]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := io.ReadFull(r, buf[6:]); err != nil {
			t.Fatal(err)
		}
		if got, want := string(buf), "slowly read"; got != want {
			t.Errorf("read %q, want %q", got, want)
		}
		start := time.Now()
		_, err := r.Read(buf)
		if err == nil || !strings.Contains(err.Error(), "nothing arrived for 1s") {
			t.Errorf("a silent source: %v", err)
		}
		if got, want := time.Since(start), time.Second; got != want {
			t.Errorf("a silent source: failed after %v, want %v", got, want)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		stop := idle.StartHeartbeat(time.Second, func() { sent++ })
		time.Sleep(10*time.Second + time.Millisecond)
		stop()
		if want := 40; sent != want {
			t.Errorf("sent %d in 10 s, want %d", sent, want)
		}
		time.Sleep(time.Minute)
		if want := 40; sent != want {
			t.Errorf("sent %d after stop", sent-want)
		}
	})
}

func TestNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := idle.StartHeartbeat(0, func() { t.Error("sent") })
		time.Sleep(time.Minute)
		stop()
	})
}
