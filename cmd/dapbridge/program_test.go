package main

import (
	"os"
	"path/filepath"
	"testing"
)

// asProgram is the variable that makes the test's executable run as dapbridge.
const asProgram = "DAPBRIDGE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// programDir returns a directory for PATH that contains dapbridge.
func programDir(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := "#!/bin/sh\n" + asProgram + "=1 exec '" + self + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "dapbridge"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}
