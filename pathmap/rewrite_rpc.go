package pathmap

import "bytes"

// RewriteRPC is [Map.Rewrite] for a message of Delve's JSON-RPC, version 2. The
// paths are in the params and the result of a message, and there in the members
// that Delve's types name (service/rpc2, service/api): files, lists of them, and
// location expressions such as FILE:LINE.
func (m *Map) RewriteRPC(dst, msg []byte, dir Direction) (out []byte, changed int) {
	return (&Rewriter{Map: m}).rewrite(dst, msg, dir, rpcMessage, false)
}

// rpcMessageRole returns the role of a member of a JSON-RPC message.
func roleInRPCMessage(key []byte) role {
	switch string(key) {
	case "params", "result":
		return rpcValue
	}
	return opaque
}

// rpcMemberRole returns the role of a member of one of Delve's values. The test
// of this goes through Delve's types and fails for a member that might hold a
// path and that nobody has looked at.
func roleInRPCValue(key []byte) role {
	switch string(key) {
	case "file", "File":
		return rpcFile
	case "DirectoryPath":
		return pathname
	case "Sources", "Files":
		return pathnames
	case "Loc", "LocExpr", "ExprString", "SubstituteLocExpr", "Arg":
		return rpcLocation
	case "labels", "hitCount": // the target's own keys and values
		return opaque
	}
	return rpcValue
}

// location replaces the file of the location expression at msg[start:end] if
// the table has it: FILE:LINE or FILE (Documentation/cli/locspec.md of Delve).
func (w *walker) mapLocation(start, end int, escaped bool) {
	p, ok := w.decode(start, end, escaped)
	if !ok || len(p) == 0 {
		return
	}
	length := len(p)
	if colon := bytes.LastIndexByte(p, ':'); colon > 0 && colon+1 < len(p) && digitsEnd(p, colon+1) == len(p) {
		length = colon
	}
	if p[length-1] == '/' || length > maxPath || !isAbsolute(p) && !isSourceFile(p[:length]) {
		return // a regular expression, or a function
	}
	mapped, ok := w.table.translate(w.mapped[:0], p[:length])
	if ok && !bytes.Equal(mapped, p[:length]) {
		w.replace(start, end, append(mapped, p[length:]...))
	}
}

// namesSource reports whether p ends as the path of a source file does, and not as
// a function's name, which a relative path of a -trimpath build looks like.
func isSourceFile(p []byte) bool {
	return bytes.HasSuffix(p, []byte(".go")) || bytes.HasSuffix(p, []byte(".s"))
}
