package config

import "io/fs"

// othersWrite does not know the access lists of Windows.
func othersWrite(fs.FileInfo) string { return "" }
