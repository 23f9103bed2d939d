package stream

import (
	"encoding/binary"
	"strings"
)

// Flags of a chunk of the dirty bitmap section.
const (
	bitmapEOS        = 0x01
	bitmapZeroes     = 0x02
	bitmapNameFlag   = 0x04
	bitmapDeviceFlag = 0x08
	bitmapStart      = 0x10
	bitmapComplete   = 0x20
	bitmapBits       = 0x40
	bitmapExtra      = 0x80
)

// bitmapChunk parses one chunk of the dirty bitmap section:
//
//	u8 flags, [str8 node], [str8 bitmap],
//	START: u32 granularity, u8 flags | COMPLETE: - | BITS: u64 sector, u32 sectors, [u64 n, n bytes]
func (p *Parser) bitmapChunk() error {
	flags, err := p.in.u8()
	if err != nil {
		return err
	}
	if flags&bitmapExtra != 0 {
		return p.refused("section %q with flags %#02x", bitmapName, flags)
	}
	for _, named := range []byte{bitmapDeviceFlag, bitmapNameFlag} {
		if flags&named == 0 {
			continue
		}
		if _, err := p.in.str8(); err != nil {
			return err
		}
	}
	if err := p.bitmapBody(flags); err != nil {
		return err
	}
	if flags&bitmapEOS != 0 {
		p.state = stateFooter
	}
	return p.emit(KindBlob)
}

func (p *Parser) bitmapBody(flags byte) error {
	switch {
	case flags&bitmapStart != 0:
		_, err := p.in.bytes(5)
		return err
	case flags&bitmapComplete != 0 || flags&bitmapBits == 0:
		return nil
	}
	if _, err := p.in.bytes(12); err != nil || flags&bitmapZeroes != 0 {
		return err
	}
	n, err := p.in.u64()
	if err != nil {
		return err
	}
	if n > MaxBitmapChunk {
		return p.malformed("dirty bitmap chunk of %d bytes: at most %d", n, MaxBitmapChunk)
	}
	_, err = p.in.bytes(int(n))
	return err
}

const earlyFields = 8 + 8 + 8 + 4 + 8 // address, region size, block size, node, size

// earlyDevice parses a FULL section that comes before the end of ram. Only virtio-mem sends one.
func (p *Parser) earlyDevice() error {
	s, err := p.sectionHead()
	if err != nil {
		return err
	}
	if !strings.HasSuffix(s.Name, earlySuffix) {
		return p.refused("state of device %q before the end of ram", s.Name)
	}
	if s.Version != 1 {
		return p.refused("section %q version %d", s.Name, s.Version)
	}
	fields, err := p.in.bytes(earlyFields)
	if err != nil {
		return err
	}
	size, err := p.earlyBitmap(binary.BigEndian.Uint64(fields[8:]), binary.BigEndian.Uint64(fields[16:]))
	if err != nil {
		return err
	}
	if _, err := p.in.bytes(size); err != nil {
		return err
	}
	if err := p.footerBytes(s); err != nil {
		return err
	}
	if len(p.early) == MaxSections {
		return p.malformed("more than %d early devices", MaxSections)
	}
	p.early[s.Name]++
	err = p.emit(KindEarly)
	p.item.Section = s
	return err
}

// earlyBitmap returns the bytes of the bitmap of a region: a bit per block in whole u64 words.
func (p *Parser) earlyBitmap(region, block uint64) (int, error) {
	if block == 0 || block&(block-1) != 0 || region%block != 0 {
		return 0, p.malformed("virtio-mem region of %#x bytes in blocks of %#x", region, block)
	}
	blocks := region / block
	if blocks > MaxEarlyBitmap*8 {
		return 0, p.malformed("virtio-mem bitmap of %d bits: at most %d", blocks, MaxEarlyBitmap*8)
	}
	return int((blocks + 63) / 64 * 8), nil
}
