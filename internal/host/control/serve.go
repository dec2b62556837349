package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dapbridge/dapbridge/internal/diag"
	"github.com/dapbridge/dapbridge/internal/host/peer"
)

// Method answers a request with the given JSON parameters. ctx ends when the client
// no longer waits for the answer.
type Method func(ctx context.Context, params json.RawMessage) (answer any, err error)

const (
	readTimeout  = 5 * time.Second // for a request
	writeTimeout = 5 * time.Second // for an answer
	maxConns     = 16              // at a time; further ones wait
)

// Serve answers requests on ln until ctx ends. It then closes ln and returns once no
// method is running. It closes connections from other users immediately.
func Serve(ctx context.Context, ln net.Listener, methods map[string]Method, l *slog.Logger) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.RWMutex // read-locked while a method runs
	defer func() {
		cancel()
		running.Lock()
		defer running.Unlock()
	}()
	mux := http.NewServeMux()
	for name, method := range methods {
		mux.HandleFunc("POST "+prefix+name, func(w http.ResponseWriter, r *http.Request) {
			running.RLock()
			defer running.RUnlock()
			if ctx.Err() == nil {
				serveMethod(w, r, method)
			}
		})
	}
	s := &http.Server{
		Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadTimeout: readTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(&limitedListener{Listener: ln, slots: make(chan struct{}, maxConns), log: l}); !errors.Is(err, http.ErrServerClosed) {
		l.Warn("serving the control socket failed", "error", err)
	}
}

func serveMethod(w http.ResponseWriter, r *http.Request, method Method) {
	params, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil && len(params) > 0 && !json.Valid(params) {
		err = errors.New("the parameters are not JSON")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	status := http.StatusOK
	result, err := method(r.Context(), params)
	if err != nil {
		status = http.StatusInternalServerError
		known := &diag.Error{}
		if !errors.As(err, &known) {
			known = diag.Errorf(diag.Internal, "%w", err)
		}
		result = &diag.Error{Code: known.Code, Summary: err.Error(), Hint: known.Hint}
	}
	text, err := json.Marshal(result)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may be gone
}

// limitedListener accepts only connections of this user, and at most cap(slots) at a
// time.
type limitedListener struct {
	net.Listener
	slots chan struct{}
	log   *slog.Logger
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		l.slots <- struct{}{}
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		limited := &limitedConn{Conn: conn, freeSlot: sync.OnceFunc(func() { <-l.slots })}
		if err := peer.Check(conn); err != nil {
			l.log.Warn("refused a connection to the control socket", "error", err)
			limited.Close()
			continue
		}
		return limited, nil
	}
}

type limitedConn struct {
	net.Conn
	freeSlot func()
}

func (c *limitedConn) Close() error {
	defer c.freeSlot()
	return c.Conn.Close()
}
