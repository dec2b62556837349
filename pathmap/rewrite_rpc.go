package pathmap

import "bytes"

// RewriteRPC is [Map.Rewrite] for a message of Delve's JSON-RPC, version 2. Paths are in
// params and result, in the members that Delve's types define (service/rpc2,
// service/api): files, lists of files, and location expressions such as FILE:LINE.
func (m *Map) RewriteRPC(dst, msg []byte, dir Direction) (out []byte, changed int) {
	return (&Rewriter{Map: m}).rewrite(dst, msg, dir, rpcMessage, false)
}

// roleInRPCMessage returns the role of a member of a JSON-RPC message.
func roleInRPCMessage(key []byte) role {
	switch string(key) {
	case "params", "result":
		return rpcValue
	}
	return opaque
}

// roleInRPCValue returns the role of a member of one of Delve's values. A test walks
// Delve's types and fails for a member that might hold a path and has not been
// classified.
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

// mapLocation maps the file of the location expression msg[start:end], FILE:LINE or FILE
// (Delve, Documentation/cli/locspec.md).
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

// isSourceFile reports whether p ends like the path of a source file, rather than like
// the name of a function, which may look like a relative path of a -trimpath build.
func isSourceFile(p []byte) bool {
	return bytes.HasSuffix(p, []byte(".go")) || bytes.HasSuffix(p, []byte(".s"))
}
