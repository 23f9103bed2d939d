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

// readBitmapChunk reads one chunk of the dirty bitmap section, and tells whether it is the last of this piece:
//
//	u8 flags, [str8 node], [str8 bitmap],
//	START: u32 granularity, u8 flags | COMPLETE: - | BITS: u64 sector, u32 sectors, [u64 n, n bytes]
func readBitmapChunk(in *buffer) (last bool, err error) {
	flags, err := in.u8()
	if err != nil {
		return false, err
	}
	if flags&bitmapExtra != 0 {
		return false, in.refused("section %q with flags %#02x", bitmapName, flags)
	}
	for _, named := range []byte{bitmapDeviceFlag, bitmapNameFlag} {
		if flags&named == 0 {
			continue
		}
		if _, err := in.str8(); err != nil {
			return false, err
		}
	}
	if err := readBitmapBody(in, flags); err != nil {
		return false, err
	}
	return flags&bitmapEOS != 0, nil
}

func readBitmapBody(in *buffer, flags byte) error {
	switch {
	case flags&bitmapStart != 0:
		_, err := in.bytes(5)
		return err
	case flags&bitmapComplete != 0 || flags&bitmapBits == 0:
		return nil
	}
	if _, err := in.bytes(12); err != nil || flags&bitmapZeroes != 0 {
		return err
	}
	n, err := in.u64()
	if err != nil {
		return err
	}
	if n > MaxBitmapChunk {
		return in.malformed("dirty bitmap chunk of %d bytes: at most %d", n, MaxBitmapChunk)
	}
	_, err = in.bytes(int(n))
	return err
}

const earlyFields = 8 + 8 + 8 + 4 + 8 // address, region size, block size, node, size

// earlyDevices counts the devices, by name, whose state came before the end of ram.
type earlyDevices map[string]int

// read reads a FULL section behind its type. Only virtio-mem sends one early. It tells whether the section had a footer.
func (e earlyDevices) read(in *buffer) (s Section, footer bool, err error) {
	if s, err = readSectionHead(in); err != nil {
		return s, false, err
	}
	if !strings.HasSuffix(s.Name, earlySuffix) {
		return s, false, in.refused("state of device %q before the end of ram", s.Name)
	}
	if s.Version != 1 {
		return s, false, in.refused("section %q version %d", s.Name, s.Version)
	}
	fields, err := in.bytes(earlyFields)
	if err != nil {
		return s, false, err
	}
	size, err := earlyBitmap(in, binary.BigEndian.Uint64(fields[8:]), binary.BigEndian.Uint64(fields[16:]))
	if err != nil {
		return s, false, err
	}
	if _, err := in.bytes(size); err != nil {
		return s, false, err
	}
	if footer, err = s.readFooter(in); err != nil {
		return s, footer, err
	}
	if len(e) == MaxSections {
		return s, footer, in.malformed("more than %d early devices", MaxSections)
	}
	e[s.Name]++
	return s, footer, nil
}

// earlyBitmap returns the bytes of the bitmap of a region: a bit per block in whole u64 words.
func earlyBitmap(in *buffer, region, block uint64) (int, error) {
	if block == 0 || block&(block-1) != 0 || region%block != 0 {
		return 0, in.malformed("virtio-mem region of %#x bytes in blocks of %#x", region, block)
	}
	blocks := region / block
	if blocks > MaxEarlyBitmap*8 {
		return 0, in.malformed("virtio-mem bitmap of %d bits: at most %d", blocks, MaxEarlyBitmap*8)
	}
	return int((blocks + 63) / 64 * 8), nil
}
