package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/dapbridge/dapbridge/internal/diag"
)

// Call calls a method of the daemon. It sends params as JSON and unmarshals the result
// into answer. A [diag.Error] from the method is returned unchanged; any other failure is
// a diag.DaemonSilent error.
func (d Daemon) Call(ctx context.Context, method string, params, answer any) error {
	err := d.call(ctx, method, params, answer)
	var known *diag.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	return diag.Errorf(diag.DaemonSilent, "dapbridge serve, pid %d: %w", d.PID, err)
}

func (d Daemon) call(ctx context.Context, method string, params, answer any) error {
	body, err := json.Marshal(params)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://dapbridge"+prefix+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.Socket)
		},
		DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	switch {
	case len(text) > maxAnswer:
		return fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case resp.StatusCode == http.StatusOK:
		return json.Unmarshal(text, answer)
	case resp.StatusCode == http.StatusNotFound:
		return errors.New("it belongs to another release that does not support this request")
	}
	e := &diag.Error{}
	if json.Unmarshal(text, e) != nil || e.Summary == "" {
		return errors.New(diag.EscapeLine(string(text[:min(len(text), 200)])))
	}
	return e
}
