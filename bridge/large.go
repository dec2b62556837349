package bridge

import (
	"bufio"

	"github.com/dapbridge/dapbridge/pathmap"
)

// largeMessage is the size from which on a message is not put together to be
// sent, but written from where it is, in bytes.
const largeMessage = 64 << 10

// pieces is how many bytes of it are gathered for one write.
const pieces = 128 << 10

// writeEdited writes msg with the edits made. The error is the writer's, and
// Flush returns it.
func writeEdited(w *bufio.Writer, msg []byte, edits []pathmap.Edit) {
	done := 0
	for _, e := range edits {
		w.Write(msg[done:e.Start])
		w.Write(e.Text)
		done = e.End
	}
	w.Write(msg[done:])
}
