package ram

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// capturedBlocks are the blocks of a q35 machine with 5 GiB, a memory module and a graphics card. The hosts are those
// of the captured 7.2.
var capturedBlocks = []Block{
	{"pc.ram", 0, 4096, 5 << 30, 5 << 30, 0x7f0debe00000, false, true},
	{"mem1", 1, 4096, 64 << 20, 64 << 20, 0x7f0f33e00000, false, true},
	{"0000:00:01.0/vga.vram", 2, 4096, 16 << 20, 16 << 20, 0, false, true},
	{"/rom@etc/acpi/tables", 3, 4096, 0x20000, 0x200000, 0, false, true},
	{"pc.bios", 4, 4096, 0x40000, 0x40000, 0x7f0f7dc00000, false, true},
	{"pc.rom", 5, 4096, 0x20000, 0x20000, 0x7f0f7da00000, false, true},
	{"/rom@etc/table-loader", 6, 4096, 0x1000, 0x10000, 0, false, true},
	{"/rom@etc/acpi/rsdp", 7, 4096, 0x1000, 0x1000, 0, false, true},
}

func TestParseRAMBlocks(t *testing.T) {
	got, err := parseBlocks(testdata(t, "qemu10-ramblock.txt"))
	if err != nil {
		t.Fatal(err)
	}
	hosts := []uint64{
		0x7fa113e00000, 0x7fa25be00000, 0x7fa2a5a00000, 0x7fa2a5600000, 0x7fa2a6e00000, 0x7fa2a6c00000, 0x7fa2a5400000, 0x7fa2a5200000,
	}
	for i, want := range capturedBlocks {
		want.Host, want.ReadOnly = hosts[i], i >= 3
		if got[i] != want {
			t.Errorf("got %+v, want %+v", got[i], want)
		}
	}
}

func TestParseRAMBlocksOddNames(t *testing.T) {
	header := "              Block Name    PSize              Offset               Used              Total                HVA  RO\n"
	got, err := parseBlocks(header +
		"                            4 KiB  0x0 0x1000 0x1000 0x7f0000001000  rw\n" +
		"     /rom@my roms/a  b.bin  4 KiB  0x0 0x1000 0x2000 0x7f0000003000  ro\r\n" +
		"                      huge  2 MiB  0x0 0x40000000 0x40000000 0x7f0040000000  rw\n")
	want := []Block{
		{"", 0, 4096, 4096, 4096, 0x7f0000001000, false, false},
		{"/rom@my roms/a  b.bin", 1, 4096, 4096, 8192, 0x7f0000003000, true, true},
		{"huge", 2, 2 << 20, 1 << 30, 1 << 30, 0x7f0040000000, false, true},
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %s", err, cmp.Diff(got, want))
	}
}

func TestParseRAMBlocksRefuses(t *testing.T) {
	header := "Block Name    PSize              Offset               Used              Total                HVA  RO\n"
	for name, line := range map[string]string{
		"columns":     "a 4 KiB 0x0 0x1000 0x1000 0x1000",
		"page size":   "a 3 KiB 0x0 0x1000 0x1000 0x1000 rw",
		"small pages": "a 1 KiB 0x0 0x1000 0x1000 0x1000 rw",
		"unit":        "a 4 PiB 0x0 0x1000 0x1000 0x1000 rw",
		"used":        "a 4 KiB 0x0 0x2000 0x1000 0x1000 rw",
		"part page":   "a 4 KiB 0x0 0x1001 0x2000 0x1000 rw",
		"host":        "a 4 KiB 0x0 0x1000 0x1000 0x1001 rw",
		"overflow":    "a 4 KiB 0x0 0x1000 0x1000 0xfffffffffffff000 rw",
		"hex":         "a 4 KiB 0x0 0xg000 0x1000 0x1000 rw",
		"many pages":  "a 4 KiB 0x0 0x100000000000 0x100000000000 0x1000 rw",
		"twice":       "a 4 KiB 0x0 0x1000 0x1000 0x1000 rw\na 4 KiB 0x0 0x1000 0x1000 0x3000 rw",
		"empty line":  "\na 4 KiB 0x0 0x1000 0x1000 0x1000 rw",
		"too many":    strings.Repeat(" 4 KiB 0x0 0x1000 0x1000 0x1000 rw\n", MaxBlocks+1),
	} {
		if blocks, err := parseBlocks(header + line); err == nil {
			t.Errorf("%s: got %.200v", name, fmt.Sprint(blocks))
		}
	}
	if _, err := parseBlocks("unknown command: 'info ramblock'"); err == nil {
		t.Error("no table: accepted")
	}
}

func FuzzParseRAMBlocks(f *testing.F) {
	f.Add(testdata(f, "qemu10-ramblock.txt"))
	f.Add(testdata(f, "qemu7-ramblock.txt"))
	f.Fuzz(func(t *testing.T, text string) {
		blocks, err := parseBlocks(text)
		if err != nil {
			return
		}
		for i, b := range blocks {
			if b.check() != nil || b.Index != i || b.Migratable != (b.ID != "") || uint64(b.Pages())*PageSize != b.Length {
				t.Errorf("block %+v", b)
			}
		}
	})
}

func FuzzParseFlatView(f *testing.F) {
	f.Add(testdata(f, "qemu7-mtree.txt"), testdata(f, "qemu7-gpa2hva.txt"))
	blocks, err := parseBlocks(testdata(f, "qemu7-ramblock.txt"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, mtree, gpa string) {
		parseGPA2HVA(gpa)
		ranges, err := parseFlatView(mtree)
		if err != nil {
			return
		}
		for b, r := range largestRanges(ranges, blocks) {
			if r.length == 0 || r.offset+r.length > b.MaxLength || r.offset+r.length < r.length {
				t.Errorf("block %+v range %+v", b, r)
			}
		}
	})
}

func TestParseFlatRange(t *testing.T) {
	for _, test := range []struct {
		line string
		want flatRange
		ok   bool
	}{
		{"  0000000000100000-000000007fffffff (prio 0, ram): pc.ram @0000000000100000", flatRange{"pc.ram", 1 << 20, 1 << 20, 0x7ff00000}, true},
		{"  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM", flatRange{"pc.ram", 0, 0, 0xa0000}, true},
		{"  0000000000100000-00000000001fffff (prio 0, rom): a @b @0000000000001000 KVM", flatRange{"a @b", 1 << 20, 4096, 1 << 20}, true},
		{"  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic", flatRange{}, false},
		{"  0000000000200000-00000000001fffff (prio 0, ram): backwards", flatRange{}, false},
		{"  0000000000000000-ffffffffffffffff (prio 0, ram): all", flatRange{}, false},
		{"  No rendered FlatView", flatRange{}, false},
	} {
		got, ok := parseFlatRange(test.line)
		if ok != test.ok || (ok && got != test.want) {
			t.Errorf("%s: %+v, %v", test.line, got, ok)
		}
	}
}

// A region without device path belongs to a block only if no other could be meant.
func TestRegionBlock(t *testing.T) {
	blocks := []Block{{ID: "pc.ram"}, {ID: "0000:00:02.0/vga.vram"}, {ID: "0000:00:03.0/e1000.rom"}, {ID: "0000:00:04.0/e1000.rom"}, {}}
	for region, want := range map[string]*Block{
		"pc.ram": &blocks[0], "vga.vram": &blocks[1], "e1000.rom": nil, "0000:00:04.0/e1000.rom": &blocks[3], "": nil, "ram": nil,
	} {
		if got := regionBlock(blocks, region); got != want && region != "" {
			t.Errorf("%q: got %+v", region, got)
		}
	}
}
