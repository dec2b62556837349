package procfs

import "testing"

const statTail = " 1 7 7 0 -1 4194560 100 0 0 0 5 2 0 0 20 0 9 0 146945 1234 99 18446744073709551615 1 1"

func TestParseStat(t *testing.T) {
	for _, name := range []string{"containerd", ") R 1 (", "a b\nc", "((", "))", "", ") Z 99 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9"} {
		st, err := parseStat([]byte("7 (" + name + ") S" + statTail + "\n"))
		want := stat{state: 'S', parent: 1, flags: 4194560, start: 146945}
		if err != nil || st != want {
			t.Errorf("%q: %+v, %v", name, st, err)
		}
	}
}

func TestParseStatRefuses(t *testing.T) {
	for _, text := range []string{"", "7", "7 (x", "7 (x)", "7 (x) S", "7 (x) SS" + statTail, "7 (x) S x" + statTail[2:], "7 (x) S 1 2 3"} {
		if st, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, st)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (x) S" + statTail))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseStat(data) })
}

func TestStatusField(t *testing.T) {
	status := []byte("Name:\tx\\nTracerPid:\t9\nUmask:\t0022\nTracerPid:\t12\nUid:\t1\t2\t3\t4\nNSpid:\t40\t1\nSigPnd:\t0000000000000200\nEmpty:\n")
	for key, want := range map[string]string{
		"TracerPid": "12", "Uid": "1\t2\t3\t4", "SigPnd": "0000000000000200", "Empty": "", "Tracer": "", "None": "",
	} {
		if got := string(findStatusField(status, key)); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if uid, pids := parseEffectiveUID(status), parseNSPids(status); uid != 2 || len(pids) != 2 || pids[1] != 1 {
		t.Error(uid, pids)
	}
}
