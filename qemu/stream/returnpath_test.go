package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

var returns = []struct {
	wire string
	want Return
}{
	{"0001 0004 00000001", Return{Kind: ReturnShut, Value: 1}},
	{"0002 0004 00000042", Return{Kind: ReturnPong, Value: 0x42}},
	{"0003 0010 0000000000003000 00001000 03 'mem'", Return{Kind: ReturnReqPagesID, Start: 0x3000, Length: 0x1000, Block: "mem"}},
	{"0004 000c 0000000000003000 00001000", Return{Kind: ReturnReqPages, Start: 0x3000, Length: 0x1000}},
	{
		"0005 0004 03 'mem' 0000000000000008 0f00000000000000 0123456789abcdef",
		Return{Kind: ReturnRecvBitmap, Block: "mem", Bitmap: []byte{15, 0, 0, 0, 0, 0, 0, 0}},
	},
	{"0006 0004 00000001", Return{Kind: ReturnResumeAck, Value: 1}},
	{"0007 0000", Return{Kind: ReturnSwitchoverAck}},
}

func TestReturnGolden(t *testing.T) {
	for _, c := range returns {
		wire := unhex(t, c.wire)
		r := bytes.NewReader(append(bytes.Clone(wire), 0xee))
		got, err := ReadReturn(r)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", c.wire, got, err)
		}
		if r.Len() != 1 {
			t.Errorf("%v: %d bytes left, want 1", c.want.Kind, r.Len())
		}
		if b := c.want.Append([]byte{1}); !bytes.Equal(b, append([]byte{1}, wire...)) {
			t.Errorf("%v appended: % x", c.want.Kind, b)
		}
		if strings.HasPrefix(c.want.Kind.String(), "ReturnKind(") {
			t.Errorf("kind %d has no name", c.want.Kind)
		}
	}
}

func TestReturnPrefixesFail(t *testing.T) {
	for _, c := range returns {
		wire := unhex(t, c.wire)
		for i := range wire {
			want := io.ErrUnexpectedEOF
			if i == 0 {
				want = io.EOF
			}
			if _, err := ReadReturn(bytes.NewReader(wire[:i])); err != want {
				t.Errorf("%v cut to %d bytes: %v, want %v", c.want.Kind, i, err, want)
			}
		}
	}
}

func TestReturnBad(t *testing.T) {
	for _, c := range []struct{ wire, what string }{
		{"0000 0000", "message 0"},
		{"0008 0000", "message 8"},
		{"0001 0005 0000000000", "SHUT of 5"},
		{"0003 0201", "REQ_PAGES_ID of 513"},
		{"0003 000c 0000000000003000 00001000", "REQ_PAGES_ID of 12"},
		{"0003 0010 0000000000003000 00001000 04 'mem'", "name of 4 bytes in 3"},
		{"0005 0000", "RECV_BITMAP of 0"},
		{"0005 0004 03 'mem' 0000000004000008", "bitmap of 67108872"},
		{"0005 0004 03 'mem' 0000000000000007", "bitmap of 7"},
		{"0005 0004 03 'mem' 0000000000000000 0123456789abcdee", "ends in 0x123456789abcdee"},
	} {
		_, err := ReadReturn(bytes.NewReader(unhex(t, c.wire)))
		malformed, refused := (*FormatError)(nil), (*RefusedError)(nil)
		if !errors.As(err, &malformed) && !errors.As(err, &refused) || !strings.Contains(err.Error(), c.what) {
			t.Errorf("want %q: %v", c.what, err)
		}
	}
}

// TestReturnBitmapTakesMemoryAsItArrives announces the longest bitmap and sends little of it.
func TestReturnBitmapTakesMemoryAsItArrives(t *testing.T) {
	wire := binary.BigEndian.AppendUint64(unhex(t, "0005 0004 03 'mem'"), MaxRecvBitmap)
	wire = append(wire, make([]byte, 1000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ReadReturn(bytes.NewReader(wire)); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}
