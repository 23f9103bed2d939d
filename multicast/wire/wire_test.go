package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var (
	header = Header{
		Kind: Symbol, Epoch: 5, Sequence: 0x03040506, Channel: 0x0708, Block: 0x0b0c,
		Length: 0x12345, Stripe: 3, Index: 0xee,
	}
	key      = Key{Epoch: 3, Salt: [SaltSize]byte{1, 31: 2}}
	announce = Announce{
		Channel: 7, ID: 0x01020304, Round: 2, AnySource: true, Start: 9, Group: netip.MustParseAddrPort("232.1.2.3:5000"),
	}
	report = Report{Overflow: 4, Joins: 5, Leaves: 6, Channels: []Progress{
		{Channel: 7, Multicast: Path{9, 8, 7}, Unicast: Path{6, 5, 4}, Floor: 3, Blocks: []Holding{
			{}, {Placed: true}, {Stripes: []uint8{183}}, {Stripes: []uint8{1, 2, 3}},
		}},
		{Channel: 8},
	}}
)

// TestGolden holds the bytes on the wire: they are a contract between versions.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"header", header.Append(nil), "c5 03040506 0708 0b0c 123443 ee"},
		{"key", key.Append(nil), "01 03 03 01" + strings.Repeat("00", 30) + "02"},
		{"announce", announce.Append(nil),
			"02 0007 01020304 02 01 0000000000000009 00000000000000000000ffffe8010203 1388"},
		{"announce without group", Announce{Channel: 1}.Append(nil), "02 0001 00000000 00 00" + strings.Repeat("00", 26)},
		{"close", Close{Channel: 7}.Append(nil), "03 0007"},
		{"answer", Answer{Channel: 7, Unicast: true, Cookie: 0xabcd, Window: 1 << 20}.Append(nil), "04 0007 01 abcd 00100000"},
		{"refusal", Refusal{Channel: 7, Fatal: true, Text: "no"}.Append(nil), "05 0007 01 6e6f"},
		{"leave", Leave{Channel: 7}.Append(nil), "08 0007"},
		{"every", Every{Milliseconds: 260}.Append(nil), "09 0104"},
		{"keyed", Keyed{Epoch: 3}.Append(nil), "07 03"},
		{"report", report.Append(nil), "06 00000004 00000005 00000006 0002" +
			"0007 0000000000000009 00000008 00000007 0000000000000006 00000005 00000004 00000003 0004 00 ff 01b7 03010203" +
			"0008 0000000000000000 00000000 00000000 0000000000000000 00000000 00000000 00000000 0000"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil || !bytes.Equal(c.got, want) {
			t.Errorf("%s: % x, want % x (%v)", c.name, c.got, want, err)
		}
	}
}

// parse reads any message; which is its first byte's type, 0 for a datagram.
func parse(which Type, b []byte) (v any, again []byte, err error) {
	switch which {
	case 0:
		h, err := ParseHeader(b)
		return h, h.Append(nil), err
	case TypeKey:
		m, err := ParseKey(b)
		return m, m.Append(nil), err
	case TypeAnnounce:
		m, err := ParseAnnounce(b)
		return m, m.Append(nil), err
	case TypeClose:
		m, err := ParseClose(b)
		return m, m.Append(nil), err
	case TypeAnswer:
		m, err := ParseAnswer(b)
		return m, m.Append(nil), err
	case TypeRefusal:
		m, err := ParseRefusal(b)
		return m, m.Append(nil), err
	case TypeLeave:
		m, err := ParseLeave(b)
		return m, m.Append(nil), err
	case TypeKeyed:
		m, err := ParseKeyed(b)
		return m, m.Append(nil), err
	case TypeEvery:
		m, err := ParseEvery(b)
		return m, m.Append(nil), err
	case TypeReport:
		var m Report
		err := m.Parse(b)
		return m, m.Append(nil), err
	}
	return nil, nil, ErrFormat
}

func samples() map[Type][]byte {
	return map[Type][]byte{
		0:            append(header.Append(nil), make([]byte, TagSize)...),
		TypeKey:      key.Append(nil),
		TypeAnnounce: announce.Append(nil),
		TypeClose:    Close{Channel: 7}.Append(nil),
		TypeAnswer:   Answer{Channel: 7, Unicast: true, Cookie: 0xabcd, Window: 1 << 20}.Append(nil),
		TypeRefusal:  Refusal{Channel: 7, Fatal: true, Text: "no"}.Append(nil),
		TypeKeyed:    Keyed{Epoch: 3}.Append(nil),
		TypeLeave:    Leave{Channel: 7}.Append(nil),
		TypeEvery:    Every{Milliseconds: 260}.Append(nil),
		TypeReport:   report.Append(nil),
	}
}

func TestRoundTrip(t *testing.T) {
	want := map[Type]any{0: header, TypeKey: key, TypeAnnounce: announce, TypeReport: report}
	for which, b := range samples() {
		v, again, err := parse(which, b)
		if err != nil {
			t.Errorf("type %d: %v", which, err)
		}
		if w := want[which]; w != nil && !cmp.Equal(v, w, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})) {
			t.Errorf("type %d: %+v, want %+v", which, v, w)
		}
		if which != 0 && !bytes.Equal(again, b) {
			t.Errorf("type %d: % x, written again % x", which, b, again)
		}
	}
}

// TestPrefixesFail cuts each message short. A Refusal's text may be of any length.
func TestPrefixesFail(t *testing.T) {
	for which, b := range samples() {
		if which == TypeRefusal {
			b = b[:4]
		}
		for n := range b {
			if _, _, err := parse(which, b[:n]); !errors.Is(err, ErrFormat) {
				t.Errorf("type %d: %d of %d bytes: %v", which, n, len(b), err)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	k := key.Append(nil)
	k[1] = 9
	_, err := ParseKey(k)
	if v, ok := errors.AsType[*VersionError](err); !ok || v.Theirs != 9 || v.Ours != Version {
		t.Errorf("a newer version: %v", err)
	}
	unicast := Announce{Group: netip.MustParseAddrPort("10.0.0.1:5000")}.Append(nil)
	if _, err := ParseAnnounce(unicast); err == nil {
		t.Error("a group that is none")
	}
	if _, err := ParseRefusal(Refusal{Text: strings.Repeat("x", 2*MaxText)}.Append(nil)); err != nil {
		t.Errorf("a long text is cut: %v", err)
	}
	many := (&Report{Channels: make([]Progress, MaxReported+1)}).Append(nil)
	if err := new(Report).Parse(many); err == nil {
		t.Error("too many channels")
	}
	trailing := append(report.Append(nil), 0)
	if err := new(Report).Parse(trailing); err == nil {
		t.Error("bytes behind the end")
	}
}

// FuzzMessage reads anything as anything: it is refused, or it is written again as it was.
func FuzzMessage(f *testing.F) {
	for which, b := range samples() {
		f.Add(uint8(which), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		v, again, err := parse(Type(which), b)
		if err != nil {
			return
		}
		if which == 0 {
			if h, err := ParseHeader(append(again, make([]byte, TagSize)...)); err != nil || !reflect.DeepEqual(h, v) {
				t.Fatalf("header %+v, written and read again %+v, %v", v, h, err)
			}
			return
		}
		if Type(which) == TypeAnnounce { // an IPv4 group has two spellings
			if w, _, err := parse(TypeAnnounce, again); err != nil || w != v {
				t.Fatalf("announce %+v, written and read again %+v, %v", v, w, err)
			}
			return
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("% x, written again % x", b, again)
		}
	})
}

// TestCompleteFindsWhatIsLeftOut takes the high bits away, and finds them again from numbers less than half a turn away.
func TestCompleteFindsWhatIsLeftOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sequence := rapid.Uint64Range(0, MaxSequence).Draw(t, "sequence")
		block := rapid.Uint32().Draw(t, "block")
		known := sequence + rapid.Uint64Range(0, 1<<31-1).Draw(t, "ahead")
		if rapid.Bool().Draw(t, "behind") {
			known = sequence - min(sequence, known-sequence)
		}
		floor := uint32(min(1<<32-1, uint64(block)+rapid.Uint64Range(0, 1<<15-1).Draw(t, "further")))
		if rapid.Bool().Draw(t, "below") {
			floor = block - min(block, floor-block)
		}
		h, err := ParseHeader(append(Header{Sequence: sequence, Block: block}.Append(nil), make([]byte, TagSize)...))
		if err != nil {
			t.Fatal(err)
		}
		if h.Complete(known, floor); h.Sequence != sequence || h.Block != block {
			t.Fatalf("sequence %d block %d completed from %d and %d: %d and %d", sequence, block, known, floor, h.Sequence, h.Block)
		}
	})
}

// TestCutsAgree wants both ends to divide every block alike.
func TestCutsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.IntRange(1, MaxBlock).Draw(t, "length")
		limit := rapid.IntRange(MinSymbol, 9000).Draw(t, "limit")
		c := NewCut(length, limit)
		if got, ok := CutFor(length, c.Size); !ok || got != c {
			t.Fatalf("sender %+v, receiver %+v, %v", c, got, ok)
		}
		if c.Size > limit || c.Bytes() < length || c.Bytes()-length >= c.Symbols || c.Stripes > MaxStripes {
			t.Fatalf("%+v", c)
		}
		sum := 0
		for s := range c.Stripes {
			sum += c.K(s)
		}
		if sum != c.Symbols || c.First(0) != 0 {
			t.Fatalf("stripes of %+v have %d symbols", c, sum)
		}
	})
}

func FuzzCut(f *testing.F) {
	f.Add(262144, 1433)
	f.Fuzz(func(t *testing.T, length, size int) {
		c, ok := CutFor(length, size)
		if ok && (c.Bytes() < length || c.Bytes() > length+c.Symbols || c.Stripes > MaxStripes || c.K(0) > 192) {
			t.Fatalf("%d by %d: %+v", length, size, c)
		}
	})
}
