package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/frames.golden")

// all is one message of each type, with every field set.
var all = []Message{
	Hello{Version: 1, Purpose: PurposeStream, Evacuation: "00112233445566ff", VM: 3, Software: "scatter"},
	Begin{Key: bytes.Repeat([]byte{0xa5}, 32), Source: netip.MustParseAddr("10.0.0.1"), Window: 24 << 20},
	Prepare{VM: 2, Name: "web", Argv: []string{"/usr/bin/qemu-system-x86_64", "-name", "guest=web"}, Memory: 1 << 29, VCPUs: 2,
		Machine: "pc-q35-10.0", Blocks: []Block{{"pc.ram", 1 << 29}, {"vga.vram", 16 << 20}}, Header: []byte("QEVM\x00\x00\x00\x03"), PostCopy: true,
		Disks: []NewDisk{{Path: "/srv/web.raw", Bytes: 10 << 30, Data: 1 << 30}}},
	Run{VM: 2, State: "suspended"},
	Abort{VM: 2, Reason: "cancelled by the operator"},
	Query{VM: 4095},
	Digest{VM: 1},
	End{},
	Examine{VM: 7, Name: "db", Argv: []string{"qemu", "-m", "512"}, Machine: "pc", Header: []byte("QEVM\x00\x00\x00\x03"), PostCopy: true,
		CPU:   []CPUWord{{EAX: 7, ECX: new(uint32(1)), Register: "EDX", Bits: 1 << 31}, {EAX: 1, Register: "ECX"}},
		Disks: []NewDisk{{Path: "/srv/db.raw", Bytes: 1 << 30, Data: 4096, Inode: 7}}, Written: []File{{Path: "/srv/db.qcow2", Inode: 1 << 40}}},
	Listen{Key: bytes.Repeat([]byte{0x5a}, 32), Source: netip.MustParseAddr("10.0.0.1"), AnySource: netip.MustParseAddr("239.77.0.0"),
		SourceSpecific: netip.MustParseAddr("239.77.0.1"), Port: 9770, Seconds: 30},
	Count{},
	Welcome{Version: 1, Name: "target", Memory: 8 << 30, VCPUs: 16, VMs: []string{"a", "b"}, QEMU: "10.0.2", Error: "too many evacuations"},
	Prepared{VM: 2, Zero: []bool{true, false}},
	Loaded{VM: 2},
	Running{VM: 2},
	State{VM: 2, State: StateLoaded},
	Digested{VM: 1, Sums: [][]byte{{1, 2, 3}, {4, 5, 6}}},
	Begun{Datagram: netip.MustParseAddrPort("10.0.0.2:40000")},
	Listening{Datagram: netip.MustParseAddrPort("10.0.0.2:40001"), NotJoined: "join: no buffer space available", Blind: "packet socket: operation not permitted",
		MTU: 1500, Buffer: 16 << 20, Merges: true, Memberships: 20, Error: "no interface"},
	Counted{Probes: []Probed{{Path: 3, Packet: 1500, Rounds: 1}, {Path: 0, Packet: 576, Seen: true, Rounds: 2}}, Queries: 1, Querier: netip.MustParseAddr("10.0.0.254")},
	Examined{VM: 7, Shared: []int{0}, Error: "no such machine type", Off: []string{"avx2"}, Untried: "-tpmdev emulator: a try would use it up"},
	Multicast{Body: []byte{0, 1, 0xfe, 0xff}},
	Ping{},
	Failed{VM: 2, Error: "no room", Refused: true},
	Data{Body: []byte{8, 0, 1, 0, 0}},
	Packed{Body: []byte{0x28, 0xb5, 0x2f, 0xfd}},
	DataEnd{},
	Lacks{Body: AppendRun(AppendRun(AppendLacks(nil, 1), 7, 3), 1<<20, 1)},
	TakeOver{Blocks: []Block{{"pc.ram", 1 << 29}}, Bulk: true},
	Pages{Body: AppendPage(nil, 2, 3, nil)},
	PackedPages{Body: []byte{0x28, 0xb5, 0x2f, 0xfd}},
	Wants{Body: AppendWant(nil, 1, 9)},
	Filled{VM: 2, Waits: 1000, Median: 1.5, Most: 20},
	Sync{},
	Synced{VM: 2},
}

// end is a connection that reads from r and writes to w.
type end struct {
	net.Conn
	r io.Reader
	w io.Writer
}

func (e end) Read(b []byte) (int, error)  { return e.r.Read(b) }
func (e end) Write(b []byte) (int, error) { return e.w.Write(b) }

// halves is a net.Conn for the parts that end does not replace.
func halves(t testing.TB) net.Conn {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a
}

// frameOf is m as it is sent.
func frameOf(t testing.TB, m Message) []byte {
	t.Helper()
	var b bytes.Buffer
	c := NewConn(end{halves(t), nil, &b}, "peer", 1e9)
	if err := c.Send(m); err != nil {
		t.Fatal(err)
	}
	if c.Sent() != int64(b.Len()) {
		t.Fatalf("counted %d bytes of %d", c.Sent(), b.Len())
	}
	return b.Bytes()
}

// receiving is a Conn at which b arrives.
func receiving(t testing.TB, b []byte) *Conn {
	return NewConn(end{halves(t), bytes.NewReader(b), nil}, "peer", 1e9)
}

// show writes a frame for people: length, type and body in hex, and the body as text where it is text.
func show(frame []byte) string {
	body := string(frame[frameHeader+1:])
	if !utf8.ValidString(body) || strings.ContainsFunc(body, unicode.IsControl) {
		return fmt.Sprintf("%x %02x %x", frame[:frameHeader], frame[frameHeader], body)
	}
	return fmt.Sprintf("%x %02x %s", frame[:frameHeader], frame[frameHeader], body)
}

// TestGoldenFrames keeps the bytes of the protocol as they are.
func TestGoldenFrames(t *testing.T) {
	const file = "testdata/frames.golden"
	var got strings.Builder
	for _, m := range all {
		fmt.Fprintf(&got, "%-10s %s\n", m.Type(), show(frameOf(t, m)))
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("frames changed (-want +got):\n%s", d)
	}
}

// TestEveryTypeIsTested: each type of the protocol has a name, a message and a place in the table above.
func TestEveryTypeIsTested(t *testing.T) {
	seen := make(map[Type]bool)
	for _, m := range all {
		if seen[m.Type()] {
			t.Errorf("%s is in the table twice", m.Type())
		}
		seen[m.Type()] = true
	}
	for n := range 256 {
		typ := Type(n)
		_, named := typeNames[typ]
		_, err := parse(typ, []byte("{}"))
		if named != seen[typ] || named != (err == nil) {
			t.Errorf("type %d: named %v, in the table %v, parsed %v", n, named, seen[typ], err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	var wire []byte
	for _, m := range all {
		wire = append(wire, frameOf(t, m)...)
	}
	c := receiving(t, wire)
	for _, want := range all {
		got, err := c.Receive()
		if err != nil {
			t.Fatalf("%s: %v", want.Type(), err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if m, err := c.Receive(); err != io.EOF {
		t.Errorf("after the last frame: %v, %v", m, err)
	}
}

func TestEveryStrictPrefixFails(t *testing.T) {
	for _, m := range all {
		frame := frameOf(t, m)
		for n := range frame {
			got, err := receiving(t, frame[:n]).Receive()
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if !errors.Is(err, want) {
				t.Errorf("%s cut to %d of %d bytes: %v, %v", m.Type(), n, len(frame), got, err)
			}
		}
	}
}

// TestUnknownFieldsAreSkipped: bodies evolve by added fields.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	m, err := receiving(t, rawFrame(TypeRun, `{"vm":5,"later":{"x":[1]}}`)).Receive()
	if err != nil || m != (Run{VM: 5}) {
		t.Errorf("got %+v, %v", m, err)
	}
}

func rawFrame(typ Type, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	return append(append(b, byte(typ)), body...)
}

func TestBadFrames(t *testing.T) {
	cases := []struct {
		name  string
		frame []byte
		want  string
	}{
		{"length 0", []byte{0, 0, 0, 0}, "length 0"},
		{"one byte too long", binary.BigEndian.AppendUint32(nil, MaxFrame+1), "length 1048577"},
		{"longest number", []byte{0xff, 0xff, 0xff, 0xff}, "length 4294967295"},
		{"unknown type", rawFrame(200, "{}"), "message type 200"},
		{"type 0", rawFrame(0, "{}"), "message type 0"},
		{"no body", rawFrame(TypeRun, ""), "run: "},
		{"not JSON", rawFrame(TypeHello, "\x00\x01"), "hello: "},
		{"JSON of another shape", rawFrame(TypeQuery, "[1]"), "query: "},
		{"string for a number", rawFrame(TypeRun, `{"vm":"0"}`), "run: "},
		{"number out of range", rawFrame(TypeRun, `{"vm":1e30}`), "run: "},
		{"two objects", rawFrame(TypeRun, `{"vm":1}{"vm":2}`), "run: "},
		{"address that is none", rawFrame(TypeBegin, `{"source":"nowhere"}`), "begin: "},
		{"key that is not base64", rawFrame(TypeBegin, `{"key":"!"}`), "begin: "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := receiving(t, c.frame).Receive()
			bad, ok := errors.AsType[*FrameError](err)
			if !ok || bad.Peer != "peer" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v: want a *FrameError with %q", m, err, c.want)
			}
		})
	}
}

// TestInvariant5LengthIsBoundedBeforeAllocation: a length that is too large costs no memory.
func TestInvariant5LengthIsBoundedBeforeAllocation(t *testing.T) {
	for _, n := range []uint32{0, MaxFrame + 1, 1 << 31, 1<<32 - 1} {
		c := receiving(t, binary.BigEndian.AppendUint32(nil, n))
		if _, err := c.Receive(); err == nil || c.body != nil {
			t.Errorf("length %d: error %v, %d bytes allocated", n, err, cap(c.body))
		}
	}
}

func TestLongestFrame(t *testing.T) {
	want := Data{Body: bytes.Repeat([]byte{7}, MaxFrame-1)}
	got, err := receiving(t, frameOf(t, want)).Receive()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the longest frame does not pass: %v", err)
	}
	var b bytes.Buffer
	c := NewConn(end{halves(t), nil, &b}, "peer", 1e9)
	if err := c.Send(Data{Body: make([]byte, MaxFrame)}); err == nil || b.Len() > 0 {
		t.Errorf("a frame that no peer accepts was sent: %v, %d bytes", err, b.Len())
	}
}

// FuzzReceive: whatever arrives is a message that survives being sent, or a *FrameError, or an end.
func FuzzReceive(f *testing.F) {
	for _, m := range all {
		f.Add(frameOf(f, m))
	}
	f.Add(append(frameOf(f, all[0]), frameOf(f, Multicast{})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := receiving(t, b)
		for {
			m, err := c.Receive()
			if cap(c.body) > MaxFrame {
				t.Fatalf("%d bytes for a frame", cap(c.body))
			}
			if err != nil {
				if _, bad := errors.AsType[*FrameError](err); !bad && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%T: %v", err, err)
				}
				return
			}
			again, err := receiving(t, frameOf(t, m)).Receive()
			if err != nil || !bytes.Equal(frameOf(t, again), frameOf(t, m)) {
				t.Fatalf("%+v became %+v, %v", m, again, err)
			}
		}
	})
}
