package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// unhex decodes hex with spaces; 'text' in quotes stands for itself.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		p, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", part, err)
		}
		b = append(b, p...)
	}
	return b
}

// Pieces of streams, to put a message where it may stand.
const (
	hexHeader = "5145564d 00000003 07 00000004 'pc-x' "
	hexStart  = "01 00000002 03 'ram' 00000000 00000004 "
	hexBlocks = "0000000000005004 03 'mem' 0000000000004000 03 'rom' 0000000000001000 "
	hexEOS    = "0000000000000010 "
	hexFooter = "7e 00000002 "
	hexPart   = "02 00000002 "
	hexEnd    = "03 00000002 "
	hexRAM    = hexHeader + hexStart + hexBlocks + hexEOS + hexFooter // between sections, blocks are known
	hexLarge  = hexHeader + "08 0003 0010 0000000000201000 0000000000001000 "
	hexBitmap = hexRAM + "01 00000003 0c 'dirty-bitmap' 00000000 00000001 "
	hexEarly  = "04 00000009 1a 'm0" + earlySuffix + "' 00000000 00000001 "
	hexPost   = hexRAM + "08 0007 0004 0000000a 08 0004 0000 08 0005 0000 "
)

var pageOfOnes = bytes.Repeat([]byte{1}, PageSize)

// message is an item at its place: the bytes before it and, where the parser has to see what comes next, behind it.
type message struct {
	name   string
	before string
	wire   string
	after  string
	want   Item // Raw is filled in from wire for all but pages
}

var ramSection = Section{ID: 2, Name: "ram", Version: 4}
var bitmapSection = Section{ID: 3, Name: "dirty-bitmap", Version: 1}

var messages = []message{
	{name: "header", wire: hexHeader, after: "08", want: Item{Kind: KindHeader}},
	{name: "header without configuration", wire: "5145564d 00000003", after: "01", want: Item{Kind: KindHeader}},
	{
		name: "header with subsections", after: "01", want: Item{Kind: KindHeader},
		wire: hexHeader + "05 1e 'configuration/target-page-bits' 00000001 0000000c" +
			"05 1a 'configuration/capabilities' 00000001 00000000" +
			"05 12 'configuration/uuid' 00000001 000102030405060708090a0b0c0d0e0f",
	},
	{name: "OPEN_RETURN_PATH", before: hexHeader, wire: "08 0001 0000", want: Item{Kind: KindCommand, Command: CmdOpenReturnPath}},
	{name: "PING", before: hexHeader, wire: "08 0002 0004 00000001", want: Item{Kind: KindCommand, Command: CmdPing}},
	{
		name: "POSTCOPY_ADVISE", before: hexHeader, wire: "08 0003 0010 0000000000001000 0000000000001000",
		want: Item{Kind: KindCommand, Command: CmdPostcopyAdvise},
	},
	{name: "POSTCOPY_ADVISE of bitmaps", before: hexHeader, wire: "08 0003 0000", want: Item{Kind: KindCommand, Command: CmdPostcopyAdvise}},
	{name: "POSTCOPY_LISTEN", before: hexRAM, wire: "08 0004 0000", want: Item{Kind: KindCommand, Command: CmdPostcopyListen}},
	{name: "POSTCOPY_RUN", before: hexRAM, wire: "08 0005 0000", want: Item{Kind: KindCommand, Command: CmdPostcopyRun}},
	{
		name: "POSTCOPY_RAM_DISCARD", before: hexRAM,
		wire: "08 0006 0026 00 03 'mem' 00 0000000000001000 0000000000001000 0000000000003000 0000000000001000",
		want: Item{Kind: KindCommand, Command: CmdPostcopyRAMDiscard},
	},
	{name: "PACKAGED", before: hexRAM, wire: "08 0007 0004 0000000a", want: Item{Kind: KindCommand, Command: CmdPackaged}},
	{name: "SWITCHOVER_START", before: hexRAM, wire: "08 000b 0000", want: Item{Kind: KindCommand, Command: CmdSwitchoverStart}},
	{name: "start", before: hexHeader, wire: hexStart, want: Item{Kind: KindSectionStart, Section: ramSection}},
	{name: "part", before: hexRAM, wire: hexPart, want: Item{Kind: KindSectionPart, Section: ramSection}},
	{name: "end", before: hexRAM, wire: hexEnd, want: Item{Kind: KindSectionEnd, Section: ramSection}},
	{name: "block list", before: hexHeader + hexStart, wire: hexBlocks, want: Item{Kind: KindMemSize, Section: ramSection}},
	{
		name: "block list with page size", before: hexLarge + hexStart,
		wire:  "0000000000401004 03 'rom' 0000000000001000 03 'mem' 0000000000400000 0000000000200000",
		after: hexEOS, want: Item{Kind: KindMemSize, Section: ramSection},
	},
	{name: "end of records", before: hexRAM + hexPart, wire: hexEOS, want: Item{Kind: KindEOS, Section: ramSection}},
	{name: "footer", before: hexRAM + hexPart + hexEOS, wire: hexFooter, want: Item{Kind: KindFooter, Section: ramSection}},
	{name: "no footer", before: hexRAM + hexPart + hexEOS, wire: "", after: "08", want: Item{Kind: KindFooter, Section: ramSection}},
	{
		name: "page", before: hexRAM + hexPart, wire: "0000000000003008 03 'mem'" + hex.EncodeToString(pageOfOnes),
		want: Item{Kind: KindPage, Section: ramSection, Offset: 0x3000, Data: pageOfOnes},
	},
	{
		name: "page of the same block", before: hexRAM + hexPart + "0000000000000002 03 'rom' 00",
		wire: "0000000000000028" + hex.EncodeToString(pageOfOnes),
		want: Item{Kind: KindPage, Section: ramSection, Block: 1, Data: pageOfOnes},
	},
	{
		name: "zero", before: hexRAM + hexPart, wire: "0000000000001002 03 'mem' 00",
		want: Item{Kind: KindZero, Section: ramSection, Offset: 0x1000},
	},
	{
		name: "zero of the same block in another section", wire: "0000000000002022 00",
		before: hexRAM + hexPart + "0000000000001002 03 'mem' 00" + hexEOS + hexFooter + hexPart,
		want:   Item{Kind: KindZero, Section: ramSection, Offset: 0x2000},
	},
	{name: "bitmap start", before: hexBitmap, wire: "1c 02 'n0' 02 'b0' 00010000 01", want: Item{Kind: KindBlob, Section: bitmapSection}},
	{name: "bitmap complete", before: hexBitmap, wire: "20", want: Item{Kind: KindBlob, Section: bitmapSection}},
	{
		name: "bitmap bits", before: hexBitmap, wire: "40 0000000000000000 00000800 0000000000000003 aabbcc",
		want: Item{Kind: KindBlob, Section: bitmapSection},
	},
	{name: "bitmap zeroes", before: hexBitmap, wire: "42 0000000000000000 00000800", want: Item{Kind: KindBlob, Section: bitmapSection}},
	{name: "bitmap end", before: hexBitmap, wire: "01", want: Item{Kind: KindBlob, Section: bitmapSection}},
	{
		name: "early device", before: hexRAM, after: "08", want: Item{Kind: KindEarly, Section: Section{9, "m0" + earlySuffix, 0, 1}},
		wire: hexEarly + "0000000100000000 0000000008000000 0000000000200000 00000000 0000000000400000 0000000000000003 7e 00000009",
	},
	{name: "package", before: hexRAM + "08 0007 0004 0000000a", wire: "08 0004 0000 08 0005 0000", want: Item{Kind: KindPackage}},
	{name: "end mark", before: hexPost, wire: "00", want: Item{Kind: KindEnd}},
}

// parseAll returns copies of all items up to an error. It copies tails into a last item.
func parseAll(r io.Reader, opt Options) ([]Item, error) {
	var items []Item
	p := NewParser(r, opt)
	for {
		it, err := p.Next()
		if err != nil {
			return items, err
		}
		c := *it
		c.Raw, c.Data, c.Payload = bytes.Clone(it.Raw), bytes.Clone(it.Data), bytes.Clone(it.Payload)
		if it.Kind == KindTail {
			var b bytes.Buffer
			_, err = p.Tail(&b)
			c.Raw = b.Bytes()
		}
		if items = append(items, c); err != nil {
			return items, err
		}
	}
}

func TestMessageGolden(t *testing.T) {
	for _, m := range messages {
		before, wire := unhex(t, m.before), unhex(t, m.wire)
		items, err := parseAll(bytes.NewReader(append(append(before, wire...), unhex(t, m.after)...)), Options{})
		skip := countItems(t, before)
		if len(items) <= skip {
			t.Errorf("%s: %d items before it and %d in all: %v", m.name, skip, len(items), err)
			continue
		}
		want := m.want
		if want.Kind != KindPage && want.Kind != KindZero {
			want.Raw = wire
		}
		if want.Kind == KindCommand {
			want.Payload = wire[commandHeader:]
		}
		if got := items[skip]; !equalItems(got, want) {
			t.Errorf("%s:\n got  %+v\n want %+v", m.name, got, want)
		}
	}
}

// countItems counts the items of bytes that are complete but for what the parser looks ahead for.
func countItems(t *testing.T, b []byte) int {
	t.Helper()
	if len(b) == 0 {
		return 0
	}
	items, err := parseAll(bytes.NewReader(b), Options{})
	if len(items) > 0 && err == io.ErrUnexpectedEOF {
		return len(items)
	}
	if err == io.ErrUnexpectedEOF { // a header alone waits for what follows
		return 1
	}
	t.Fatalf("% x: %d items, %v", b, len(items), err)
	return 0
}

func equalItems(a, b Item) bool {
	same := bytes.Equal(a.Raw, b.Raw) && bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Payload, b.Payload)
	a.Raw, a.Data, a.Payload, b.Raw, b.Data, b.Payload = nil, nil, nil, nil, nil, nil
	return same && reflect.DeepEqual(a, b)
}

func TestMessagePrefixesFail(t *testing.T) {
	for _, m := range messages {
		before, wire := unhex(t, m.before), unhex(t, m.wire)
		skip := countItems(t, before)
		for i := range wire {
			if m.want.Kind == KindPackage && i >= len(packageHead) {
				break // a package is returned in pieces, see TestPackagePieces
			}
			items, err := parseAll(bytes.NewReader(append(bytes.Clone(before), wire[:i]...)), Options{})
			if err != io.ErrUnexpectedEOF || len(items) > skip {
				t.Fatalf("%s cut to %d bytes: %d items, %v", m.name, i, len(items)-skip, err)
			}
		}
	}
}

func TestMessageRewritten(t *testing.T) {
	for _, m := range messages {
		wire := append(append(unhex(t, m.before), unhex(t, m.wire)...), unhex(t, m.after)...)
		var out bytes.Buffer
		p, w := NewParser(bytes.NewReader(wire), Options{}), NewWriter(&out)
		it, err := p.Next()
		for ; err == nil; it, err = p.Next() {
			if err := w.Item(p, it); err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		want, _ := parseAll(bytes.NewReader(wire), Options{})
		ahead := wire[p.Offset():] // looked at, but not an item
		got, _ := parseAll(io.MultiReader(&out, bytes.NewReader(ahead)), Options{})
		if len(got) != len(want) {
			t.Fatalf("%s: %d items, want %d", m.name, len(got), len(want))
		}
		for i := range want {
			if !equalItems(got[i], want[i]) {
				t.Errorf("%s item %d:\n got  %+v\n want %+v", m.name, i, got[i], want[i])
			}
		}
	}
}

func TestHeaderFields(t *testing.T) {
	for _, m := range messages[:3] {
		wire := unhex(t, m.wire)
		p := NewParser(bytes.NewReader(append(wire, 1)), Options{})
		if _, err := p.Next(); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		h := p.Header()
		if !bytes.Equal(h.Raw, wire) {
			t.Errorf("%s: raw % x", m.name, h.Raw)
		}
		if long := m.name == "header with subsections"; h.HasUUID != long || (h.PageBits == 12) != long || (h.UUID[15] == 15) != long {
			t.Errorf("%s: %+v", m.name, h)
		}
		if (h.Machine == "pc-x") != (m.name != "header without configuration") {
			t.Errorf("%s: machine %q", m.name, h.Machine)
		}
	}
}

func TestBlocks(t *testing.T) {
	p := NewParser(bytes.NewReader(unhex(t, hexLarge+hexStart+
		"0000000000401004 03 'rom' 0000000000001000 03 'mem' 0000000000400000 0000000000200000"+hexEOS)), Options{})
	for range 4 {
		if _, err := p.Next(); err != nil {
			t.Fatal(err)
		}
	}
	want := []RAMBlock{{"rom", 0x1000, PageSize}, {"mem", 0x400000, 2 << 20}}
	if !reflect.DeepEqual(p.Blocks(), want) {
		t.Errorf("blocks %+v, want %+v", p.Blocks(), want)
	}
}

func TestCommandPayloads(t *testing.T) {
	ping := AppendPing(nil, 7)
	if v, err := ParsePing(ping[commandHeader:]); err != nil || v != 7 {
		t.Errorf("ping %d, %v", v, err)
	}
	a := Advise{0x201000, 0x1000}
	if got, err := ParseAdvise(a.Append(nil)); err != nil || got != a {
		t.Errorf("advise %+v, %v", got, err)
	}
	d := Discard{"mem", []Range{{0x1000, 0x2000}, {0x5000, 0x1000}}}
	wire := d.Append(nil)
	if got, err := ParseDiscard(wire); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("discard %+v, %v", got, err)
	}
	for i := range 4 {
		if _, err := ParsePing(make([]byte, i)); err != io.ErrUnexpectedEOF {
			t.Errorf("ping of %d bytes: %v", i, err)
		}
	}
	for i := range adviseSize {
		if _, err := ParseAdvise(make([]byte, i)); err != io.ErrUnexpectedEOF {
			t.Errorf("advise of %d bytes: %v", i, err)
		}
	}
	for i := range wire {
		if got, err := ParseDiscard(wire[:i]); err == nil && len(got.Ranges)*rangeSize+6 != i || err != nil && err != io.ErrUnexpectedEOF {
			t.Errorf("discard of %d bytes: %+v, %v", i, got, err)
		}
	}
}

// TestPackagePieces checks that a package longer than the buffer passes, and its first and last command.
func TestPackagePieces(t *testing.T) {
	inner := append(bytes.Clone(packageHead), bytes.Repeat([]byte{4}, 3*minBuffer)...)
	inner = append(inner, packageFoot...)
	wire := AppendCommand(unhex(t, hexRAM), CmdPackaged, binary.BigEndian.AppendUint32(nil, uint32(len(inner))))
	wire = append(append(wire, inner...), unhex(t, hexPart+hexEOS+hexFooter+"00")...)
	items, err := parseAll(bytes.NewReader(wire), Options{Buffer: minBuffer})
	if err != io.EOF {
		t.Fatal(err)
	}
	var got []byte
	for _, it := range items {
		if it.Kind == KindPackage {
			got = append(got, it.Raw...)
		}
	}
	if !bytes.Equal(got, inner) || items[len(items)-1].Kind != KindEnd {
		t.Errorf("package of %d bytes, want %d", len(got), len(inner))
	}
	for _, n := range []int{1, len(inner) - 1} {
		if _, err := parseAll(bytes.NewReader(wire[:len(unhex(t, hexRAM))+9+n]), Options{}); err != io.ErrUnexpectedEOF {
			t.Errorf("package cut to %d bytes: %v", n, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ wire, what string }{
		{"5145564d 00000002", "stream version 2"},
		{hexHeader + "05 1a 'configuration/capabilities' 00000001 00000001 0a 'mapped-ram'", "capability mapped-ram"},
		{hexHeader + "05 1a 'configuration/capabilities' 00000001 00000001 0f 'x-ignore-shared'", "capability x-ignore-shared"},
		{hexHeader + "05 1e 'configuration/target-page-bits' 00000001 0000000e", "a target page of 2^14 bytes"},
		{hexHeader + "05 05 'other' 00000001", `subsection "other"`},
		{hexHeader + "08 0003 0010 0000000000004000 0000000000004000", "a target page of 16384 bytes"},
		{hexHeader + "08 0008 0000", "capability x-colo (command ENABLE_COLO)"},
		{hexRAM + "08 0009 0000", "post-copy recovery (command POSTCOPY_RESUME)"},
		{hexRAM + "08 000a 0004 03'mem'", "post-copy recovery (command RECV_BITMAP)"},
		{hexHeader + "08 000c 0000", "command 12"},
		{hexHeader + "01 00000001 05 'block' 00000000 00000001", `capability block (section "block")`},
		{hexHeader + "01 00000001 06 '0/vfio' 00000000 00000001", `a VFIO device (section "0/vfio")`},
		{hexHeader + "01 00000001 03 's-x' 00000000 00000001", `section "s-x"`},
		{hexHeader + "01 00000001 03 'ram' 00000000 00000003", `section "ram" instance 0 version 3`},
		{hexRAM + "04 00000001 03 'cpu' 00000000 00000001", `state of device "cpu" before the end of ram`},
		{hexRAM + hexPart + "0000000000000060", "capability xbzrle (ram record 0x60)"},
		{hexRAM + hexPart + "0000000000000120", "capability compress (ram record 0x120)"},
		{hexRAM + hexPart + "0000000000000200", "capability multifd (ram record 0x200)"},
		{hexRAM + hexPart + "0000000000000080", "migration over RDMA (ram record 0x80)"},
		{hexBitmap + "80", `section "dirty-bitmap" with flags 0x80`},
	} {
		_, err := parseAll(bytes.NewReader(append(unhex(t, c.wire), 8)), Options{})
		refused := (*RefusedError)(nil)
		if !errors.As(err, &refused) || refused.What != c.what {
			t.Errorf("want %s refused: %v", c.what, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	early := func(fields string) string {
		return hexRAM + hexEarly + "0000000100000000" + fields + "00000000 0000000000000000"
	}
	for _, c := range []struct{ name, wire, what string }{
		{"magic", "5145564e 00000003", "magic"},
		{"machine name", "5145564d 00000003 07 00000101", "machine name of 257"},
		{"capabilities", hexHeader + "05 1a 'configuration/capabilities' 00000001 00000041", "65 capabilities"},
		{"command length", hexHeader + "08 0002 0005 0000000000", "PING of 5"},
		{"section type", hexRAM + "09", "section type 0x09"},
		{"second start", hexRAM + hexStart, "id 2 is taken"},
		{"unknown section", hexRAM + "02 00000007", "id 7 was not started"},
		{"footer", hexRAM + hexPart + hexEOS + "7e 00000003", "footer of section 3"},
		{"end before ram", hexHeader + "00", "before the end of ram"},
		{"flags", hexRAM + hexPart + "000000000000000a", "flags 0xa"},
		{"end of records", hexRAM + hexPart + "0000000000001010", "end of records with offset"},
		{"no block list", hexHeader + hexStart + hexEOS, "without a block list"},
		{"second block list", hexRAM + hexPart + hexBlocks, "block list outside"},
		{"block exceeds total", hexHeader + hexStart + "0000000000001004 03 'mem' 0000000000002000", "exceeds the total"},
		{"block twice", hexHeader + hexStart + "0000000000002004 01 'a' 0000000000001000 01 'a' 0000000000001000", "listed twice"},
		{"block without name", hexHeader + hexStart + "0000000000002004 00 0000000000001000", "without a name"},
		{"part of a page", hexHeader + hexStart + "0000000000002004 01 'a' 0000000000001001", "not whole pages"},
		{"page size", hexLarge + hexStart + "0000000000401004 01 'a' 0000000000400000 0000000000300000", "page size 0x300000"},
		{"no block yet", hexRAM + hexPart + "0000000000000022 00", "without a block"},
		{"unknown block", hexRAM + hexPart + "0000000000000002 03 'xyz' 00", `unknown block "xyz"`},
		{"behind the block", hexRAM + hexPart + "0000000000004002 03 'mem' 00", "page at 0x4000"},
		{"far behind the block", hexRAM + hexPart + "fffffffffffff002 03 'mem' 00", "page at 0xfff"},
		{"fill", hexRAM + hexPart + "0000000000000002 03 'mem' 01", "filled with 0x01"},
		{"bitmap chunk", hexBitmap + "40 0000000000000000 00000000 0000000000002801", "chunk of 10241"},
		{"early block size", early("0000000008000000 0000000000000000"), "blocks of 0x0"},
		{"early bitmap", early("8000000000000000 0000000000000001"), "virtio-mem bitmap"},
		{"discard block", hexRAM + "08 0006 0006 00 03 'xyz' 00", "unknown block"},
		{"discard version", hexRAM + "08 0006 0006 01 03 'mem' 00", "version 1"},
		{"discard range", hexRAM + "08 0006 0016 00 03 'mem' 00 0000000000003000 0000000000002000", "discard of 0x3000+0x2000"},
		{"discard overflow", hexRAM + "08 0006 0016 00 03 'mem' 00 0000000000003000 fffffffffffff000", "discard of"},
		{"discard alignment", hexRAM + "08 0006 0016 00 03 'mem' 00 0000000000000001 0000000000001000", "discard of"},
		{"discard in pieces", hexRAM + "08 0006 000e 00 03 'mem' 00 0000000000000000", "unexpected EOF"},
		{"package length", hexRAM + "08 0007 0004 10000001", "package of 268435457"},
		{"short package", hexRAM + "08 0007 0004 00000009", "package of 9"},
		{"package head", hexRAM + "08 0007 0004 0000000a 08 0005 0000 08 0005 0000", "does not begin"},
		{"package foot", hexRAM + "08 0007 0004 0000000a 08 0004 0000 08 0004 0000", "does not end"},
		{"second package", hexPost + "08 0007 0004 0000000a", "package after"},
		{"device in post-copy", hexPost + "04", "outside of a package"},
	} {
		_, err := parseAll(bytes.NewReader(append(unhex(t, c.wire), 8)), Options{})
		malformed := (*FormatError)(nil)
		if !errors.As(err, &malformed) || !strings.Contains(malformed.What, c.what) {
			t.Errorf("%s: want %q: %v", c.name, c.what, err)
		}
	}
}

func TestErrorOffset(t *testing.T) {
	wire := unhex(t, hexRAM+hexPart+"0000000000000002 03 'mem' 01")
	p := NewParser(bytes.NewReader(wire), Options{})
	var err error
	for err == nil {
		_, err = p.Next()
	}
	malformed := (*FormatError)(nil)
	if !errors.As(err, &malformed) || malformed.Offset != uint64(len(wire)-13) {
		t.Errorf("%v: want offset %d", err, len(wire)-13)
	}
	if _, again := p.Next(); again != err {
		t.Errorf("second error %v, want %v", again, err)
	}
}

func TestBoundOnSections(t *testing.T) {
	wire := unhex(t, hexRAM)
	for i := range MaxSections {
		wire = binary.BigEndian.AppendUint32(append(wire, typeStart), uint32(100+i))
		wire = append(wire, unhex(t, "0c 'dirty-bitmap' 00000000 00000001 01")...)
		wire = binary.BigEndian.AppendUint32(append(wire, typeFooter), uint32(100+i))
	}
	_, err := parseAll(bytes.NewReader(wire), Options{})
	if malformed := (*FormatError)(nil); !errors.As(err, &malformed) || !strings.Contains(malformed.What, "sections") {
		t.Error(err)
	}
}

func TestBoundOnBlocks(t *testing.T) {
	list := func(n int) []byte {
		blocks := make([]RAMBlock, n)
		for i := range blocks {
			name := strings.Repeat("x", 251) + string(binary.BigEndian.AppendUint32(nil, uint32(i)))
			blocks[i] = RAMBlock{name, PageSize, PageSize}
		}
		return appendBlockList(unhex(t, hexHeader+hexStart), blocks)
	}
	if items, err := parseAll(bytes.NewReader(list(MaxBlocks)), Options{}); err != io.ErrUnexpectedEOF || len(items) != 3 {
		t.Errorf("%d blocks: %d items, %v", MaxBlocks, len(items), err)
	}
	_, err := parseAll(bytes.NewReader(list(MaxBlocks+1)), Options{})
	if malformed := (*FormatError)(nil); !errors.As(err, &malformed) || !strings.Contains(malformed.What, "ram blocks") {
		t.Error(err)
	}
}

func TestIdleIsCalledBeforeEachRead(t *testing.T) {
	reads, idles := 0, 0
	source := readerFunc(func(b []byte) (int, error) {
		if idles != reads+1 {
			t.Fatalf("read %d after %d idle calls", reads+1, idles)
		}
		reads++
		if reads > 3 {
			return 0, io.EOF
		}
		return copy(b, unhex(t, hexHeader)), nil
	})
	p := NewParser(source, Options{Idle: func() error { idles++; return nil }})
	for {
		if _, err := p.Next(); err != nil {
			break
		}
	}
	stop := errors.New("stop")
	p = NewParser(source, Options{Idle: func() error { return stop }})
	if _, err := p.Next(); err != stop {
		t.Errorf("error of Idle: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestKindNames(t *testing.T) {
	for k := KindHeader; k <= KindEnd; k++ {
		if strings.HasPrefix(k.String(), "Kind(") {
			t.Errorf("kind %d has no name", k)
		}
	}
}

// appendBlockList appends the wire form of KindMemSize, of blocks without huge pages.
func appendBlockList(b []byte, blocks []RAMBlock) []byte {
	total := uint64(0)
	for _, blk := range blocks {
		total += blk.Length
	}
	b = binary.BigEndian.AppendUint64(b, total|flagMemSize)
	for _, blk := range blocks {
		b = append(append(b, byte(len(blk.Name))), blk.Name...)
		b = binary.BigEndian.AppendUint64(b, blk.Length)
	}
	return b
}
