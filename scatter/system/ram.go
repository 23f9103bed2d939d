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

// DiskBlock is a disk of a VM as a block behind those of its RAM, by the name that its source has for it. What lies behind its end counts as zero.
func DiskBlock(name string, bytes int64, index int) RAMBlock {
	return RAMBlock{Name: "disk " + name, Length: (uint64(bytes) + model.PageSize - 1) / model.PageSize * model.PageSize, Index: index}
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

// MatchNamed finds the RAM blocks of the source's QEMU in ours.
func MatchNamed(theirs []control.Block, ours []qemu.RAMBlock) ([]RAMBlock, error) {
	var listed []stream.RAMBlock
	for _, b := range theirs {
		listed = append(listed, stream.RAMBlock{Name: b.ID, Length: b.Length})
	}
	blocks, err := MatchBlocks(listed, ours)
	if err != nil {
		return nil, err
	}
	for i, b := range blocks {
		if have := ours[b.Index].MaxLength; b.Length > have {
			return nil, fmt.Errorf("ram block %s: %d bytes, here at most %d", theirs[i].ID, b.Length, have)
		}
	}
	return blocks, nil
}

// CheckBlocks judges the RAM blocks that a VM of so much memory is said to have.
func CheckBlocks(blocks []control.Block, memory int64) error {
	for _, b := range blocks {
		if b.Length%model.PageSize != 0 || b.Length/model.PageSize >= MaxGuestPages {
			return fmt.Errorf("ram block %.64q: length %d", b.ID, b.Length)
		}
	}
	if sum := BlockBytes(blocks); sum > memory+1<<30 {
		return fmt.Errorf("ram blocks of %d bytes, but memory of %d", sum, memory)
	}
	return nil
}

// BlockBytes is the size of all RAM blocks, of which those that are too large are refused.
func BlockBytes(blocks []control.Block) (sum int64) {
	for _, b := range blocks {
		sum += int64(min(b.Length, MaxGuestPages*model.PageSize))
	}
	return sum
}
