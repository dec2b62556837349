package pathmap

// Client is how a client of the Debug Adapter Protocol writes paths and positions
// (InitializeRequestArguments). The zero value is the only form that Delve accepts:
// plain paths, and lines and columns that count from 1.
type Client struct {
	URI      bool // pathFormat is "uri": paths are file URLs (RFC 8089)
	Lines0   bool // linesStartAt1 is false
	Columns0 bool // columnsStartAt1 is false
}

// Rewriter rewrites the messages of one session. It is safe for concurrent use as long
// as its fields do not change. The zero value changes nothing.
type Rewriter struct {
	Map     *Map
	Client  Client
	Missing *MissingFiles // nil if the host's files are not checked for being missing
}

// ToNode is [Map.Rewrite] to the node; it also converts the client's positions to
// Delve's.
func (r *Rewriter) ToNode(dst, msg []byte) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToNode, plain, false)
}

// ToHost is [Map.Rewrite] to the host; it also converts Delve's positions to the
// client's, and adds a reference to each Source whose file the host lacks. With values
// set, the message is the response to an evaluation: its member "result" is one of the
// target's values and is not changed.
func (r *Rewriter) ToHost(dst, msg []byte, values bool) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToHost, plain, values)
}

// RPCToNode is [Map.RewriteRPC] to the node.
func (r *Rewriter) RPCToNode(dst, msg []byte) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToNode, rpcMessage, false)
}

// RPCToHost is [Map.RewriteRPC] to the host; the path of a file that the host lacks
// becomes that of its copy.
func (r *Rewriter) RPCToHost(dst, msg []byte) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToHost, rpcMessage, false)
}

func (r *Rewriter) rewrite(dst, msg []byte, dir Direction, root role, values bool) (out []byte, changed int) {
	if r.Client == (Client{}) && r.Missing == nil && (r.Map == nil || len(r.Map.rules) == 0) {
		return msg, 0
	}
	w := r.newWalker(msg, dir)
	if !w.scanMessage(root) {
		return msg, 0
	}
	if values {
		w.edits.DropResults()
	}
	if changed = w.edits.Len(); changed == 0 {
		return msg, 0
	}
	return w.edits.Apply(dst, msg), changed
}

// newWalker returns a walker for msg.
func (r *Rewriter) newWalker(msg []byte, dir Direction) walker {
	w := walker{msg: msg, dir: dir, client: r.Client}
	if r.Map != nil {
		w.table = r.Map.toNode
	}
	if dir == ToHost {
		if w.missing = r.Missing; r.Map != nil {
			w.table = r.Map.toHost
		}
	}
	return w
}
