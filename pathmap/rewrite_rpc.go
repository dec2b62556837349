package pathmap

import "bytes"

// rpcMessageRole returns the role of a member of a JSON-RPC message.
func rpcMessageRole(key []byte) role {
	switch string(key) {
	case "params", "result":
		return rpcValue
	}
	return opaque
}

// rpcMemberRole returns the role of a member of one of Delve's values. The test
// of this goes through Delve's types and fails for a member that might hold a
// path and that nobody has looked at.
func rpcMemberRole(key []byte) role {
	switch string(key) {
	case "file", "File", "DirectoryPath":
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
func (w *walker) location(start, end int, escaped bool) {
	p, ok := w.text(start, end, escaped)
	if !ok || len(p) == 0 {
		return
	}
	length := len(p)
	if colon := bytes.LastIndexByte(p, ':'); colon > 0 && colon+1 < len(p) && digitsEnd(p, colon+1) == len(p) {
		length = colon
	}
	if p[length-1] == '/' || !absolute(p) && !sourceFile(p[:length]) {
		return // a regular expression, or a function
	}
	w.replace(start, end, p, length)
}

// sourceFile reports whether p ends as the path of a source file does, and not as
// a function's name, which a relative path of a -trimpath build looks like.
func sourceFile(p []byte) bool {
	return bytes.HasSuffix(p, []byte(".go")) || bytes.HasSuffix(p, []byte(".s"))
}
