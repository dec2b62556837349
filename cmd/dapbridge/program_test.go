package main

import (
	"os"
	"path/filepath"
	"testing"
)

// asProgram makes the test's executable the program itself.
const asProgram = "DAPBRIDGE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program returns a directory for PATH that has the program under its name.
func program(t *testing.T) string {
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
