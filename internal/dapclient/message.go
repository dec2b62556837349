package dapclient

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// Response is the server's answer to one request.
type Response struct {
	Seq        int
	RequestSeq int
	Success    bool
	Command    string
	Message    string
	Body       json.RawMessage
	Raw        []byte // the unchanged message
}

// Event is an event sent by the server.
type Event struct {
	Seq  int
	Name string
	Body json.RawMessage
	Raw  []byte // the unchanged message
}

// Error is the server's refusal of a request: a response with success false.
type Error struct {
	Command string
	ID      int    // body.error.id, such as Delve's 4000
	Text    string // body.error.format with its variables substituted, or the message
}

func (e *Error) Error() string { return e.Command + " refused: " + e.Text }

// Violation is a violation of the protocol by the server. It ends the connection:
// every later call returns it, and so does [Client.Close].
type Violation struct{ Text string }

func (v *Violation) Error() string { return "protocol violation by the server: " + v.Text }

func violationf(format string, args ...any) error {
	return &Violation{Text: fmt.Sprintf(format, args...)}
}

// message is the union of all messages that a server sends.
type message struct {
	Seq        int             `json:"seq"`
	Type       string          `json:"type"`
	RequestSeq int             `json:"request_seq"`
	Success    *bool           `json:"success"`
	Command    string          `json:"command"`
	Message    string          `json:"message"`
	Event      string          `json:"event"`
	Body       json.RawMessage `json:"body"`
}

// newError returns the error in a response with success false.
func newError(r *Response) *Error {
	var body struct {
		Error struct {
			ID        int               `json:"id"`
			Format    string            `json:"format"`
			Variables map[string]string `json:"variables"`
		} `json:"error"`
	}
	// A body of another shape is ignored: the message remains.
	_ = json.Unmarshal(r.Body, &body)
	text := body.Error.Format
	for k, v := range body.Error.Variables {
		text = strings.ReplaceAll(text, "{"+k+"}", v)
	}
	return &Error{Command: r.Command, ID: body.Error.ID, Text: cmp.Or(text, r.Message, "no reason given")}
}
