package main

import "io/fs"

// Windows guards a profile's directories by access lists, which a user's new
// directories inherit; mode bits say nothing there.
const accessOfOthers = 0

func isOurs(fs.FileInfo) bool { return true }
