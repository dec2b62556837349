package pathmap

// Client is how a client of the Debug Adapter Protocol writes positions
// (InitializeRequestArguments). The zero value is what Delve insists on: paths,
// and lines and columns that start at 1.
type Client struct {
	URI      bool // pathFormat is "uri": paths are file URLs (RFC 8089)
	Lines0   bool // linesStartAt1 is false
	Columns0 bool // columnsStartAt1 is false
}

// Rewriter rewrites the messages of one session, for a client that has ways of
// its own and a host that may lack files. Its fields must not change once it is
// used; then it is safe for concurrent use. The zero value is the identity.
type Rewriter struct {
	Map     *Map
	Client  Client
	Missing *MissingFiles // nil: the host lacks nothing
}

// ToNode is [Map.Rewrite] to the node, with the client's positions made Delve's.
func (r *Rewriter) ToNode(dst, msg []byte) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToNode, plain, false)
}

// ToHost is [Map.Rewrite] to the host, with Delve's positions made the client's,
// and a reference in each Source whose file the host lacks. In values, an answer
// to evaluate, the member "result" is the target's own and stays as it is.
func (r *Rewriter) ToHost(dst, msg []byte, values bool) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToHost, plain, values)
}

// RPCToNode is [Map.RewriteRPC] to the node.
func (r *Rewriter) RPCToNode(dst, msg []byte) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToNode, rpcMessage, false)
}

// RPCToHost is [Map.RewriteRPC] to the host, where the path of a file that the
// host lacks becomes that of its place.
func (r *Rewriter) RPCToHost(dst, msg []byte) (out []byte, changed int) {
	return r.rewrite(dst, msg, ToHost, rpcMessage, false)
}

func (r *Rewriter) rewrite(dst, msg []byte, dir Direction, is role, values bool) (out []byte, changed int) {
	if r.Client == (Client{}) && r.Missing == nil && (r.Map == nil || len(r.Map.rules) == 0) {
		return msg, 0
	}
	w := r.walker(msg, dir)
	if !w.message(is) {
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

// walker returns a walker for msg.
func (r *Rewriter) walker(msg []byte, dir Direction) walker {
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
