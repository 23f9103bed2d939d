package system

import (
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
)

// MaxGuestPages bounds the RAM of one VM: 16 TiB.
const MaxGuestPages = 1 << 32

// RAMBlock is one RAM block of a VM, in the order of its migration stream.
type RAMBlock struct {
	Name   string
	Length uint64 // bytes
	Index  int    // of the block in qemu.Memory
	Hidden bool   // QEMU does not tell its address: 7.2 and some small blocks
}

// Pages is how many it has.
func (b RAMBlock) Pages() uint32 { return uint32(b.Length / model.PageSize) }

// PagesOf is how many pages each of some blocks has.
func PagesOf(blocks []RAMBlock) []uint32 {
	sizes := make([]uint32, len(blocks))
	for i, b := range blocks {
		sizes[i] = b.Pages()
	}
	return sizes
}

// NamedBlocks is some blocks as messages name them.
func NamedBlocks(blocks []RAMBlock) (all []control.Block) {
	for _, b := range blocks {
		all = append(all, control.Block{ID: b.Name, Length: b.Length})
	}
	return all
}

// MatchBlocks finds the stream's RAM blocks among those of a QEMU process.
func MatchBlocks(listed []stream.RAMBlock, found []qemu.RAMBlock) ([]RAMBlock, error) {
	index := make(map[string]int, len(found))
	for i, b := range found {
		index[b.ID] = i
	}
	blocks := make([]RAMBlock, 0, len(listed))
	for _, l := range listed {
		i, ok := index[l.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("ram block %s: unknown to the monitor", l.Name)
		case l.Length%model.PageSize != 0 || l.Length/model.PageSize >= MaxGuestPages:
			return nil, fmt.Errorf("ram block %s: length %d", l.Name, l.Length)
		}
		blocks = append(blocks, RAMBlock{Name: l.Name, Length: l.Length, Index: i, Hidden: found[i].Host == 0})
	}
	return blocks, nil
}
