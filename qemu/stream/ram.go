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

// record parses one RAM record.
func (p *Parser) record() error {
	head, err := p.in.u64()
	if err != nil {
		return err
	}
	offset := head &^ flagMask
	switch flags := head & flagMask; flags {
	case flagPage | flagContinue, flagPage:
		return p.page(offset, flags)
	case flagZero | flagContinue, flagZero:
		return p.zero(offset, flags)
	case flagEOS:
		return p.endOfRecords(offset)
	case flagMemSize:
		return p.memSize(offset)
	default:
		return p.refuseRecord(flags)
	}
}

func (p *Parser) page(offset, flags uint64) error {
	if err := p.locate(offset, flags); err != nil {
		return err
	}
	data, err := p.in.bytes(PageSize)
	if err != nil {
		return err
	}
	p.ramItem(KindPage, offset)
	p.item.Data = data
	return nil
}

func (p *Parser) zero(offset, flags uint64) error {
	if err := p.locate(offset, flags); err != nil {
		return err
	}
	fill, err := p.in.u8()
	if err != nil {
		return err
	}
	if fill != 0 {
		return p.malformed("zero page filled with %#02x", fill)
	}
	p.ramItem(KindZero, offset)
	return nil
}

// ramItem sets the fields that differ between RAM items: clearing the whole item for each page would cost more than
// parsing it.
func (p *Parser) ramItem(k Kind, offset uint64) {
	it := &p.item
	it.Kind, it.Raw, it.Data = k, nil, nil
	it.Block, it.Offset = p.last, offset
}

// locate finds the block of a record and checks that the page is inside of it.
func (p *Parser) locate(offset, flags uint64) error {
	if flags&flagContinue == 0 {
		if err := p.blockName(); err != nil {
			return err
		}
	}
	if p.last < 0 {
		return p.malformed("page without a block")
	}
	if length := p.blocks[p.last].Length; length < PageSize || offset > length-PageSize {
		return p.malformed("page at %#x of block %q, which has %#x bytes", offset, p.blocks[p.last].Name, length)
	}
	return nil
}

func (p *Parser) blockName() error {
	name, err := p.in.str8()
	if err != nil {
		return err
	}
	i, ok := p.index[string(name)]
	if !ok {
		return p.malformed("page of unknown block %q", name)
	}
	p.last = i
	return nil
}

func (p *Parser) endOfRecords(offset uint64) error {
	if offset != 0 {
		return p.malformed("end of records with offset %#x", offset)
	}
	if p.open == typeStart && !p.listed {
		return p.malformed("start of ram without a block list")
	}
	p.state = stateFooter
	return p.emit(KindEOS)
}

// refuseRecord names what caused a record that is none of the known ones.
func (p *Parser) refuseRecord(flags uint64) error {
	switch flags &^ flagContinue {
	case flagXBZRLE:
		return p.refused("capability xbzrle (ram record %#x)", flags)
	case flagCompress:
		return p.refused("capability compress (ram record %#x)", flags)
	case flagMultifdFlush:
		return p.refused("capability multifd (ram record %#x)", flags)
	case flagHook:
		return p.refused("migration over RDMA (ram record %#x)", flags)
	case flagFull:
		return p.refused("obsolete ram record %#x", flags)
	default:
		return p.malformed("ram record flags %#x", flags)
	}
}

// memSize parses the block list: entries until their lengths add up to the total.
func (p *Parser) memSize(total uint64) error {
	if p.open != typeStart || p.listed {
		return p.malformed("block list outside of the start of ram")
	}
	for left := total; left > 0; {
		blk, err := p.blockEntry()
		if err != nil {
			return err
		}
		if blk.Length > left {
			return p.malformed("block %q of %#x bytes exceeds the total of %#x", blk.Name, blk.Length, total)
		}
		left -= blk.Length
		if err := p.addBlock(blk); err != nil {
			return err
		}
	}
	p.listed = true
	return p.emit(KindMemSize)
}

func (p *Parser) blockEntry() (RAMBlock, error) {
	name, err := p.in.str8()
	if err != nil {
		return RAMBlock{}, err
	}
	blk := RAMBlock{Name: string(name), PageSize: PageSize}
	if blk.Length, err = p.in.u64(); err != nil {
		return RAMBlock{}, err
	}
	if blk.Length%PageSize != 0 {
		return RAMBlock{}, p.malformed("block %q of %#x bytes: not whole pages", blk.Name, blk.Length)
	}
	if p.huge {
		err = p.blockPageSize(&blk)
	}
	return blk, err
}

// blockPageSize reads the page size of a block, if it is there. QEMU sends it only for blocks with huge pages. The
// first byte of it is 0, while what follows the block otherwise is the length of a name, which is never 0, or the end
// of the records.
func (p *Parser) blockPageSize(blk *RAMBlock) error {
	if err := p.in.need(8); err != nil {
		return err
	}
	v := binary.BigEndian.Uint64(p.in.buf[p.in.pos:])
	if v>>56 != 0 || v == flagEOS {
		return nil
	}
	if v < 2*PageSize || bits.OnesCount64(v) != 1 {
		return p.malformed("block %q: page size %#x", blk.Name, v)
	}
	blk.PageSize = v
	p.in.pos += 8
	return nil
}

func (p *Parser) addBlock(blk RAMBlock) error {
	if blk.Name == "" {
		return p.malformed("ram block without a name")
	}
	if _, ok := p.index[blk.Name]; ok {
		return p.malformed("ram block %q is listed twice", blk.Name)
	}
	if len(p.blocks) == MaxBlocks {
		return p.malformed("more than %d ram blocks", MaxBlocks)
	}
	p.index[blk.Name] = len(p.blocks)
	p.blocks = append(p.blocks, blk)
	return nil
}
