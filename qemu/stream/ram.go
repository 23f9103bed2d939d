package stream

import (
	"encoding/binary"
	"math/bits"
)

// A RAM record begins with a u64: an offset in a RAM block with these flags in its low bits.
const (
	flagFull         = 0x001
	flagZero         = 0x002
	flagMemSize      = 0x004
	flagPage         = 0x008
	flagEOS          = 0x010
	flagContinue     = 0x020 // the block is that of the record before
	flagXBZRLE       = 0x040
	flagHook         = 0x080
	flagCompress     = 0x100
	flagMultifdFlush = 0x200
	flagMask         = PageSize - 1
)

const recordHeader = 8

// ramReader reads the body of section "ram": records of pages, and the list of the blocks that these are in.
type ramReader struct {
	in     *buffer
	blocks []RAMBlock
	index  map[string]int // of blocks, by name
	last   int            // block of the record before, -1 = none
	listed bool           // the block list was seen
	huge   bool           // ADVISE told of huge pages: the block list may name page sizes
}

// record reads one RAM record, of an opening section or a further piece of one. Of a page it sets the fields of the item.
func (r *ramReader) record(opening bool, it *Item) (Kind, error) {
	head, err := r.in.u64()
	if err != nil {
		return 0, err
	}
	offset := head &^ flagMask
	switch flags := head & flagMask; flags {
	case flagPage | flagContinue, flagPage:
		return KindPage, r.page(offset, flags, it)
	case flagZero | flagContinue, flagZero:
		return KindZero, r.zero(offset, flags, it)
	case flagEOS:
		return KindEOS, r.endOfRecords(offset, opening)
	case flagMemSize:
		return KindMemSize, r.memSize(offset, opening)
	default:
		return 0, r.refuseRecord(flags)
	}
}

func (r *ramReader) page(offset, flags uint64, it *Item) error {
	if err := r.locate(offset, flags); err != nil {
		return err
	}
	data, err := r.in.bytes(PageSize)
	if err != nil {
		return err
	}
	r.item(it, KindPage, offset)
	it.Data = data
	return nil
}

func (r *ramReader) zero(offset, flags uint64, it *Item) error {
	if err := r.locate(offset, flags); err != nil {
		return err
	}
	fill, err := r.in.u8()
	if err != nil {
		return err
	}
	if fill != 0 {
		return r.in.malformed("zero page filled with %#02x", fill)
	}
	r.item(it, KindZero, offset)
	return nil
}

// item sets the fields that differ between RAM items: clearing the whole item for each page would cost more than
// parsing it.
func (r *ramReader) item(it *Item, k Kind, offset uint64) {
	it.Kind, it.Raw, it.Data = k, nil, nil
	it.Block, it.Offset = r.last, offset
}

// locate finds the block of a record and checks that the page is inside of it.
func (r *ramReader) locate(offset, flags uint64) error {
	if flags&flagContinue == 0 {
		if err := r.blockName(); err != nil {
			return err
		}
	}
	if r.last < 0 {
		return r.in.malformed("page without a block")
	}
	if length := r.blocks[r.last].Length; length < PageSize || offset > length-PageSize {
		return r.in.malformed("page at %#x of block %q, which has %#x bytes", offset, r.blocks[r.last].Name, length)
	}
	return nil
}

func (r *ramReader) blockName() error {
	name, err := r.in.str8()
	if err != nil {
		return err
	}
	i, ok := r.index[string(name)]
	if !ok {
		return r.in.malformed("page of unknown block %q", name)
	}
	r.last = i
	return nil
}

func (r *ramReader) endOfRecords(offset uint64, opening bool) error {
	if offset != 0 {
		return r.in.malformed("end of records with offset %#x", offset)
	}
	if opening && !r.listed {
		return r.in.malformed("start of ram without a block list")
	}
	return nil
}

// refuseRecord names what caused a record that is none of the known ones.
func (r *ramReader) refuseRecord(flags uint64) error {
	switch flags &^ flagContinue {
	case flagXBZRLE:
		return r.in.refused("capability xbzrle (ram record %#x)", flags)
	case flagCompress:
		return r.in.refused("capability compress (ram record %#x)", flags)
	case flagMultifdFlush:
		return r.in.refused("capability multifd (ram record %#x)", flags)
	case flagHook:
		return r.in.refused("migration over RDMA (ram record %#x)", flags)
	case flagFull:
		return r.in.refused("obsolete ram record %#x", flags)
	default:
		return r.in.malformed("ram record flags %#x", flags)
	}
}

// memSize parses the block list: entries until their lengths add up to the total.
func (r *ramReader) memSize(total uint64, opening bool) error {
	if !opening || r.listed {
		return r.in.malformed("block list outside of the start of ram")
	}
	for left := total; left > 0; {
		blk, err := r.blockEntry()
		if err != nil {
			return err
		}
		if blk.Length > left {
			return r.in.malformed("block %q of %#x bytes exceeds the total of %#x", blk.Name, blk.Length, total)
		}
		left -= blk.Length
		if err := r.addBlock(blk); err != nil {
			return err
		}
	}
	r.listed = true
	return nil
}

func (r *ramReader) blockEntry() (RAMBlock, error) {
	name, err := r.in.str8()
	if err != nil {
		return RAMBlock{}, err
	}
	blk := RAMBlock{Name: string(name), PageSize: PageSize}
	if blk.Length, err = r.in.u64(); err != nil {
		return RAMBlock{}, err
	}
	if blk.Length%PageSize != 0 {
		return RAMBlock{}, r.in.malformed("block %q of %#x bytes: not whole pages", blk.Name, blk.Length)
	}
	if r.huge {
		err = r.blockPageSize(&blk)
	}
	return blk, err
}

// blockPageSize reads the page size of a block, if it is there. QEMU sends it only for blocks with huge pages. The
// first byte of it is 0, while what follows the block otherwise is the length of a name, which is never 0, or the end
// of the records.
func (r *ramReader) blockPageSize(blk *RAMBlock) error {
	if err := r.in.need(8); err != nil {
		return err
	}
	v := binary.BigEndian.Uint64(r.in.buf[r.in.pos:])
	if v>>56 != 0 || v == flagEOS {
		return nil
	}
	if v < 2*PageSize || bits.OnesCount64(v) != 1 {
		return r.in.malformed("block %q: page size %#x", blk.Name, v)
	}
	blk.PageSize = v
	r.in.pos += 8
	return nil
}

func (r *ramReader) addBlock(blk RAMBlock) error {
	if blk.Name == "" {
		return r.in.malformed("ram block without a name")
	}
	if _, ok := r.index[blk.Name]; ok {
		return r.in.malformed("ram block %q is listed twice", blk.Name)
	}
	if len(r.blocks) == MaxBlocks {
		return r.in.malformed("more than %d ram blocks", MaxBlocks)
	}
	r.index[blk.Name] = len(r.blocks)
	r.blocks = append(r.blocks, blk)
	return nil
}

// advise takes the payload of CmdPostcopyAdvise.
func (r *ramReader) advise(payload []byte) error {
	if len(payload) == 0 {
		return nil
	}
	a, err := ParseAdvise(payload)
	if err != nil {
		return err
	}
	if a.PageSize != PageSize {
		return r.in.refused("a target page of %d bytes", a.PageSize)
	}
	r.huge = a.PageSizes != PageSize
	return nil
}

// discard checks the payload of CmdPostcopyRAMDiscard.
func (r *ramReader) discard(payload []byte) error {
	d, err := ParseDiscard(payload)
	if err != nil {
		return r.in.malformed("command %v: %v", CmdPostcopyRAMDiscard, err)
	}
	i, ok := r.index[d.Block]
	if !ok {
		return r.in.malformed("discard in unknown block %q", d.Block)
	}
	for _, x := range d.Ranges {
		length := r.blocks[i].Length
		if (x.Start|x.Length)%PageSize != 0 || x.Start > length || x.Length > length-x.Start {
			return r.in.malformed("discard of %#x+%#x in block %q of %#x bytes", x.Start, x.Length, d.Block, length)
		}
	}
	return nil
}
