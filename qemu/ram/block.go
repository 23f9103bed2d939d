package ram

import (
	"fmt"
	"math"
)

// PageSize is the unit in which guest memory is handled, in bytes.
const PageSize = 4096

// MaxBlocks bounds the RAM blocks of one VM.
const MaxBlocks = 4096

// Block is a piece of guest memory as QEMU keeps it: main memory, firmware, a card's memory or ROM.
type Block struct {
	ID         string // name in the migration stream, such as pc.ram
	Index      int    // place in QEMU's list, and in VM.Blocks
	PageSize   uint64 // bytes; more than 4096 for huge pages
	Length     uint64 // bytes in use
	MaxLength  uint64 // bytes reserved: the block may grow to this
	Host       uint64 // address in the QEMU process, 0 = unknown
	ReadOnly   bool   // for the guest; known since QEMU 8.0
	Migratable bool   // part of the migration stream
}

// Pages is the number of 4096-byte pages.
func (b Block) Pages() uint32 { return uint32(b.Length / PageSize) }

func (b Block) check() error {
	switch {
	case b.PageSize < PageSize || b.PageSize&(b.PageSize-1) != 0:
		return fmt.Errorf("page size %d", b.PageSize)
	case b.Length%PageSize != 0:
		return fmt.Errorf("length %#x is not in pages", b.Length)
	case b.Length > b.MaxLength:
		return fmt.Errorf("length %#x is more than the reserved %#x", b.Length, b.MaxLength)
	case b.Length/PageSize >= math.MaxUint32:
		return fmt.Errorf("length %#x is more than 2^32 pages", b.Length)
	case b.Host%PageSize != 0 || b.Host > math.MaxUint64-b.MaxLength:
		return fmt.Errorf("host address %#x", b.Host)
	}
	return nil
}
