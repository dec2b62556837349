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
	"github.com/dapbridge/dapbridge/internal/peer"
)

// Method answers a request whose parameters are JSON. ctx ends when nobody waits
// for the answer any more.
type Method func(ctx context.Context, params json.RawMessage) (answer any, err error)

const (
	readTimeout  = 5 * time.Second // for a request
	writeTimeout = 5 * time.Second // for an answer to be taken
	maxConns     = 16              // at once; more wait
)

// Serve answers requests to methods on ln until ctx ends. It then closes ln and
// returns when no method runs any more. Connections of other users are closed.
func Serve(ctx context.Context, ln net.Listener, methods map[string]Method, l *slog.Logger) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.RWMutex // held to read by each method
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
				answer(w, r, method)
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
	if err := s.Serve(&ours{Listener: ln, seats: make(chan struct{}, maxConns), log: l}); !errors.Is(err, http.ErrServerClosed) {
		l.Warn("the control socket", "error", err)
	}
}

func answer(w http.ResponseWriter, r *http.Request, method Method) {
	params, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil && len(params) > 0 && !json.Valid(params) {
		err = errors.New("the parameters are no JSON")
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
	_, _ = w.Write(text) // to who may be gone
}

// ours is a listener that takes connections of this user's, so many at once.
type ours struct {
	net.Listener
	seats chan struct{}
	log   *slog.Logger
}

func (l *ours) Accept() (net.Conn, error) {
	for {
		l.seats <- struct{}{}
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.seats
			return nil, err
		}
		seated := &seatedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.seats })}
		if err := peer.Check(conn); err != nil {
			l.log.Warn("a connection to the control socket was refused", "error", err)
			seated.Close()
			continue
		}
		return seated, nil
	}
}

type seatedConn struct {
	net.Conn
	leave func()
}

func (c *seatedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
