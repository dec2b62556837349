package peer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dapbridge/dapbridge/internal/testenv"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

const procNet4 = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 00000000:0FC8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1680 1 00000000d7be6ae1 100 0 0 10 0                      
  21: 0100007F:E682 0100007F:0FC8 01 00000000:00000000 00:00000000 00000000 149098        0 8420541 2 0000000000000000 20 0 0 10 -1                  
12345: 0100007F:0FC8 0100007F:E682 01 00000000:00000000 02:000001A8 00000000  1000        0 8420542 2 0000000000000000 20 0 0 10 -1
  22: 0200007F:E683 0100007F:0FC8 05 00000000:00000000 00:00000000 00000000  1000        0 0 2 0000000000000000 20 0 0 10 -1
  23: 0100007F:E684 0100007F:0FC8 02 00000001:00000000 01:00000064 00000000  1000        0 8420543 2 0000000000000000 20 0 0 10 -1
  24: 0100007F:E685 0100007F:0FC8 06 00000000:00000000 03:00001742 00000000     0        0 0 3 00000000e06ce6bb
  25: 0100007F:E686 0100007F:0FC8
  26: 0100007F 0100007F:0FC8 01 00000000:00000000 00:00000000 00000000     0        0 1 3 00000000e06ce6bb
`

const procNet6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   5: 00000000000000000000000001000000:D3E4 00000000000000000000000001000000:0FC8 01 00000000:00000000 00:00000000 00000000 4294967295        0 8425526 2 0000000000000000 20 0 0 10 -1
   6: 0000000000000000FFFF00000100007F:D3E5 0000000000000000FFFF00000100007F:0FC8 08 00000000:00000000 00:00000000 00000000     7        0 8424744 1 0000000000000000 20 0 0 10 -1
`

func TestParseProcNet(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		testenv.Skipf(t, "the vectors are of a little-endian machine")
	}
	for _, tt := range []struct {
		name, text string
		want       []entry
	}{
		{"tcp", procNet4, []entry{
			{ap("0.0.0.0:4040"), ap("0.0.0.0:0"), 0, false},
			{ap("127.0.0.1:59010"), ap("127.0.0.1:4040"), 149098, true},
			{ap("127.0.0.1:4040"), ap("127.0.0.1:59010"), 1000, true},
			{ap("127.0.0.2:59011"), ap("127.0.0.1:4040"), 1000, false}, // closed by its process
			{ap("127.0.0.1:59012"), ap("127.0.0.1:4040"), 1000, false}, // SYN_SENT
			{ap("127.0.0.1:59013"), ap("127.0.0.1:4040"), 0, false},    // TIME_WAIT
		}},
		{"tcp6", procNet6, []entry{
			{ap("[::1]:54244"), ap("[::1]:4040"), 4294967295, true},
			{ap("127.0.0.1:54245"), ap("127.0.0.1:4040"), 7, true},
		}},
		{"empty", "", nil},
		{"no line ends", strings.Repeat("x", 1000), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []entry
			if err := parseProcNet(strings.NewReader(tt.text), func(s socket) { got = append(got, s.entry) }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v\nwant %v", got, tt.want)
			}
		})
	}
}

// endless is a reader that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "line\n"[i%5]
	}
	return len(p), nil
}

func TestSocketIsListeningAt(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		testenv.Skipf(t, "the vectors are of a little-endian machine")
	}
	for addr, want := range map[string]uint64{
		"127.0.0.1:4040":  1680, // by a listener on all addresses
		"127.0.0.1:59010": 0,    // a client
		"127.0.0.1:4041":  0,
	} {
		var inode uint64
		err := parseProcNet(strings.NewReader(procNet4), func(s socket) {
			if s.isListeningAt(ap(addr)) {
				inode = s.inode
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if inode != want {
			t.Errorf("%s: socket %d, want %d", addr, inode, want)
		}
	}
}

func TestParseProcNetIsBounded(t *testing.T) {
	if err := parseProcNet(endless{}, func(socket) {}); err == nil {
		t.Error("no error for an endless file")
	}
	if err := parseProcNet(strings.NewReader(strings.Repeat("x", 1<<20)), func(socket) {}); err == nil {
		t.Error("no error for a line of 1 MiB")
	}
}

func FuzzParseProcNet(f *testing.F) {
	f.Add([]byte("  sl  local_address rem_address"), []byte{127, 0, 0, 1}, uint16(1), uint32(0))
	f.Add([]byte("   0: 0100007F:0FC8 00000000:0000 0A 0:0 0:0 0 0 0 16 1"), netip.IPv6Loopback().AsSlice(), uint16(65535), uint32(1000))
	f.Fuzz(func(t *testing.T, noise, ip []byte, port uint16, uid uint32) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		want := entry{local: unmap(netip.AddrPortFrom(addr, port)), remote: unmap(netip.AddrPortFrom(addr, ^port)), owner: uid, live: true}
		line := fmt.Sprintf("\n  12: %s %s 01 00000000:00000000 00:00000000 00000000 %5d        0 4711 1 0000000000000000 20\n",
			procNetAddr(ip, port), procNetAddr(ip, ^port), uid)
		var got []entry
		err := parseProcNet(bytes.NewReader(append(noise, line...)), func(s socket) { got = append(got, s.entry) })
		if err == nil && (len(got) == 0 || got[len(got)-1] != want) {
			t.Errorf("got %v, want %v last", got, want)
		}
	})
}

// procNetAddr formats an address as the kernel does.
func procNetAddr(ip []byte, port uint16) string {
	var b strings.Builder
	for i := 0; i < len(ip); i += 4 {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(ip[i:]))
	}
	return fmt.Sprintf("%s:%04X", b.String(), port)
}

// pcbRecord returns one record of macOS's list, with fields at their offsets.
func pcbRecord(kind uint32, size int, fields map[int][]byte) []byte {
	b := make([]byte, (size+7)&^7)
	binary.LittleEndian.PutUint32(b, uint32(size))
	binary.LittleEndian.PutUint32(b[4:], kind)
	for at, field := range fields {
		copy(b[at:], field)
	}
	return b
}

func word(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

func bigPort(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// pcbSocket returns the records of one socket, with the lengths of macOS 15.
func pcbSocket(local, remote netip.AddrPort, handle, uid, state uint32) []byte {
	vflag, laddr, faddr := byte(2), local.Addr().AsSlice(), remote.Addr().AsSlice()
	if local.Addr().Is4() {
		vflag = vflagIPv4
		laddr, faddr = append(make([]byte, 12), laddr...), append(make([]byte, 12), faddr...)
	}
	return slices.Concat(
		pcbRecord(xsoINPCB, 104, map[int][]byte{16: bigPort(remote.Port()), 18: bigPort(local.Port()), 44: {vflag}, 48: faddr, 64: laddr}),
		pcbRecord(xsoSocket, 116, map[int][]byte{8: word(handle), 64: word(uid), 68: word(4711)}),
		pcbRecord(2, 32, nil), pcbRecord(4, 32, nil), pcbRecord(8, 136, nil),
		pcbRecord(xsoTCPCB, 204, map[int][]byte{36: word(state)}),
	)
}

// pcbList returns a list whose header counts 16 sockets, which is also the kind of a
// struct xinpcb_n.
func pcbList(sockets ...[]byte) []byte {
	generation := pcbRecord(16, xinpgenSize, nil)
	return slices.Concat(generation, slices.Concat(sockets...), generation)
}

func TestParsePCBList(t *testing.T) {
	a, b, c := ap("127.0.0.1:59010"), ap("127.0.0.1:4040"), ap("[::1]:59011")
	list := pcbList(
		pcbSocket(a, b, 1, 501, darwinEstablished),
		pcbSocket(b, a, 2, 502, darwinFinWait2),
		pcbSocket(c, c, 3, 503, darwinCloseWait),
		pcbSocket(a, b, 0, 0, darwinEstablished), // TCP implemented by a process
		pcbSocket(a, b, 4, 504, 2),               // SYN_SENT
		pcbSocket(a, b, 5, 505, 10),              // TIME_WAIT
	)
	want := []entry{{a, b, 501, true}, {b, a, 502, true}, {c, c, 503, true}, {a, b, 0, false}, {a, b, 504, false}, {a, b, 505, false}}
	var got []entry
	if err := parsePCBList(list, func(e entry) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for n := range len(list) - xinpgenSize {
		if err := parsePCBList(list[:n], func(entry) {}); err == nil {
			t.Fatalf("no error for the first %d bytes alone", n)
		}
	}
}

func FuzzParsePCBList(f *testing.F) {
	a := ap("127.0.0.1:59010")
	f.Add(pcbList(pcbSocket(a, a, 1, 501, darwinEstablished)))
	f.Fuzz(func(t *testing.T, list []byte) {
		parsePCBList(list, func(e entry) {
			if !e.local.IsValid() || !e.remote.IsValid() {
				t.Errorf("%v", e)
			}
		})
	})
}

func TestParseTCPTable(t *testing.T) {
	row4 := func(state uint32, local, remote netip.AddrPort, pid uint32) []byte {
		return slices.Concat(word(state), local.Addr().AsSlice(), bigPort(local.Port()), []byte{9, 9},
			remote.Addr().AsSlice(), bigPort(remote.Port()), []byte{9, 9}, word(pid))
	}
	row6 := func(state uint32, local, remote netip.AddrPort, pid uint32) []byte {
		return slices.Concat(local.Addr().AsSlice(), word(0), bigPort(local.Port()), []byte{9, 9},
			remote.Addr().AsSlice(), word(0), bigPort(remote.Port()), []byte{9, 9}, word(state), word(pid))
	}
	a, b, c := ap("127.0.0.1:59010"), ap("127.0.0.1:4040"), ap("[::1]:59011")
	mapped := ap("[::ffff:127.0.0.1]:4040")
	for _, tt := range []struct {
		name  string
		parse func([]byte, func(entry)) error
		table []byte
		want  []entry
	}{
		{"IPv4", parseTCPTable, slices.Concat(word(4),
			row4(windowsEstablished, a, b, 10), row4(windowsCloseWait, b, a, 11), row4(windowsFinWait2, a, b, 0), row4(3, a, b, 12)),
			[]entry{{a, b, 10, true}, {b, a, 11, true}, {a, b, 0, false}, {a, b, 12, false}}},
		{"IPv6", parseTCP6Table, slices.Concat(word(2), row6(windowsEstablished, c, c, 10), row6(windowsFinWait1, mapped, mapped, 11), []byte("rest of the buffer")),
			[]entry{{c, c, 10, true}, {b, b, 11, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []entry
			if err := tt.parse(tt.table, func(e entry) { got = append(got, e) }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v\nwant %v", got, tt.want)
			}
			for n := range 40 {
				if err := tt.parse(tt.table[:n], func(entry) {}); err == nil {
					t.Errorf("no error for the first %d bytes alone", n)
				}
			}
		})
	}
}

func FuzzParseTCPTable(f *testing.F) {
	f.Add(append(word(1), make([]byte, 56)...))
	f.Fuzz(func(t *testing.T, table []byte) {
		rows := 0
		add := func(entry) { rows++ }
		if err := parseTCPTable(table, add); err == nil && rows*24 > len(table) {
			t.Errorf("%d rows of %d bytes", rows, len(table))
		}
		parseTCP6Table(table, add)
	})
}
