package ram

import (
	"fmt"
	"strings"
)

// QEMU before 8.0 does not list host addresses. They are found through the guest's physical memory map instead: "info
// mtree -f" tells which piece of which block lies at which guest address, "gpa2hva" turns that into a host address.
// Blocks that the guest has not mapped, such as an option ROM, stay without address.

// maxRanges bounds the memory map, in lines.
const maxRanges = 1 << 16

// flatRange is a piece of a memory region at a guest physical address.
type flatRange struct {
	region string
	gpa    uint64
	offset uint64 // into the region
	length uint64
}

// largestRanges picks the largest piece of each block that is in the memory map.
func largestRanges(ranges []flatRange, blocks []Block) map[*Block]flatRange {
	best := map[*Block]flatRange{}
	for _, r := range ranges {
		b := regionBlock(blocks, r.region)
		if b != nil && r.length <= b.MaxLength && r.offset <= b.MaxLength-r.length && r.length > best[b].length {
			best[b] = r
		}
	}
	return best
}

// regionBlock finds the one block of a memory region. A card's region lacks the device path that its block has:
// vga.vram is 0000:00:02.0/vga.vram.
func regionBlock(blocks []Block, region string) *Block {
	var found *Block
	for i := range blocks {
		id := blocks[i].ID
		if id == region {
			return &blocks[i]
		}
		if id != "" && strings.HasSuffix(id, "/"+region) {
			if found != nil {
				return nil
			}
			found = &blocks[i]
		}
	}
	return found
}

// parseFlatView reads the RAM and ROM ranges of the address space "memory" from "info mtree -f":
//
//	FlatView #1
//	 AS "memory", root: system
//	 Root memory region: system
//	  0000000000100000-0000000000ffffff (prio 0, ram): pc.ram @0000000000100000
func parseFlatView(text string) ([]flatRange, error) {
	var ranges []flatRange
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "FlatView "):
			inside = false
		case strings.HasPrefix(line, ` AS "memory",`):
			inside = true
		case inside && strings.HasPrefix(line, "  "):
			r, ok := parseFlatRange(line)
			if ok && len(ranges) == maxRanges {
				return nil, fmt.Errorf("memory map: more than %d ranges", maxRanges)
			}
			if ok {
				ranges = append(ranges, r)
			}
		}
	}
	return ranges, nil
}

// parseFlatRange reads one line; not ok means that it is not RAM or ROM.
func parseFlatRange(line string) (flatRange, bool) {
	var r flatRange
	bounds, rest, ok1 := strings.Cut(strings.TrimLeft(line, " "), " (prio ")
	kind, name, ok2 := strings.Cut(rest, "): ")
	first, last, ok3 := strings.Cut(bounds, "-")
	if !ok1 || !ok2 || !ok3 || !(strings.HasSuffix(kind, ", ram") || strings.HasSuffix(kind, ", rom")) {
		return r, false
	}
	var end uint64
	if parseHex(first, &r.gpa) != nil || parseHex(last, &end) != nil || end < r.gpa || end-r.gpa == ^uint64(0) {
		return r, false
	}
	r.length = end - r.gpa + 1
	r.region, _, _ = strings.Cut(name, " KVM") // a mark that QEMU adds where KVM knows the range
	if i := strings.LastIndex(r.region, " @"); i >= 0 {
		if parseHex(r.region[i+2:], &r.offset) != nil {
			return r, false
		}
		r.region = r.region[:i]
	}
	return r, true
}

// parseGPA2HVA reads "Host virtual address for 0x100000 (pc.ram) is 0x7f31e6100000"; not ok means that there is no RAM.
func parseGPA2HVA(text string) (region string, host uint64, ok bool) {
	text = strings.TrimSpace(text)
	_, rest, ok := strings.Cut(text, " (")
	i := strings.LastIndex(rest, ") is 0x")
	if !ok || i < 0 || !strings.HasPrefix(text, "Host virtual address for ") {
		return "", 0, false
	}
	err := parseHex(rest[i+len(") is "):], &host)
	return rest[:i], host, err == nil
}
