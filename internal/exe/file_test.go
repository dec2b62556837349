package exe

import "testing"

// open opens an executable until the test ends.
func open(t *testing.T, path string) *File {
	t.Helper()
	x, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// readBuild reads the build information of the executable at path.
func readBuild(path string) (*Build, error) {
	x, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	return x.Build()
}
