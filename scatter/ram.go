package scatter

import (
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
)

// maxGuestPages bounds the RAM of one VM: 16 TiB.
const maxGuestPages = 1 << 32

// ramBlock is one RAM block of a VM, in the order of its migration stream.
type ramBlock struct {
	name   string
	length uint64 // bytes
	index  int    // of the block in qemu.Memory
	hidden bool   // QEMU does not tell its address: 7.2 and some small blocks
}

func (b ramBlock) pages() uint32 { return uint32(b.length / PageSize) }

// matchBlocks finds the stream's RAM blocks among those of a QEMU process.
func matchBlocks(listed []stream.RAMBlock, found []qemu.RAMBlock) ([]ramBlock, error) {
	index := make(map[string]int, len(found))
	for i, b := range found {
		index[b.ID] = i
	}
	blocks := make([]ramBlock, 0, len(listed))
	for _, l := range listed {
		i, ok := index[l.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("ram block %s: unknown to the monitor", l.Name)
		case l.Length%PageSize != 0 || l.Length/PageSize >= maxGuestPages:
			return nil, fmt.Errorf("ram block %s: length %d", l.Name, l.Length)
		}
		blocks = append(blocks, ramBlock{name: l.Name, length: l.Length, index: i, hidden: found[i].Host == 0})
	}
	return blocks, nil
}
