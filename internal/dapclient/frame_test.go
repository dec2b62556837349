package dapclient

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadFrame(t *testing.T) {
	for in, want := range map[string]string{
		"Content-Length: 2\r\n\r\n{}":                 "{}",
		"X-Other: 1\r\nContent-Length: 0\r\n\r\nrest": "",
	} {
		got, err := readFrame(bufio.NewReader(strings.NewReader(in)))
		if string(got) != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]error{
		"":                               io.EOF,
		"Content-Length: 2\r\n":          io.ErrUnexpectedEOF,
		"Content-Length: 2\r\n\r\n":      io.ErrUnexpectedEOF,
		"Content-Length: 2\r\n\r\n{":     io.ErrUnexpectedEOF,
		"Content-Length: 2\n\n{}":        nil,
		"Content-Length:2\r\n\r\n{}":     nil,
		"Content-Length: -2\r\n\r\n{}":   nil,
		"Content-Length: 1e9\r\n\r\n{}":  nil,
		"Content-Length: 67108865\r\n":   nil,
		"\r\n{}":                         nil,
		"HTTP/1.1 400 Bad Request\r\n\r": nil,
		"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}": nil,
	} {
		_, err := readFrame(bufio.NewReader(strings.NewReader(in)))
		var v *Violation
		if want != nil && err != want || want == nil && !errors.As(err, &v) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add("Content-Length: 2\r\n\r\n{}")
	f.Fuzz(func(t *testing.T, in string) {
		if content, err := readFrame(bufio.NewReader(strings.NewReader(in))); err == nil {
			if !strings.Contains(in, "\r\n\r\n"+string(content)) && len(content) > 0 {
				t.Errorf("%q out of %q", content, in)
			}
		}
	})
}
