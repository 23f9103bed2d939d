// Package block encodes the unit of transmission: many contents, each with its
// owners, compressed together.
//
//	byte 0      version, 3
//	byte 1      form of the rest: 0 = plain, 1 = one zstd frame, 2 = one S2 block
//	bytes 2-5   length of the rest before compression, big-endian
//	rest        uvarint contents
//	            per content: uvarint owners, then runs of consecutive pages until there are as many
//	              uvarint VM, uvarint RAM block * 2 + 1 if the run has more than one page,
//	              varint first page, as difference to the owner before it of any VM and block,
//	              uvarint pages - 2, if it has more than one
//	            4096 bytes per content, in the same order
//
// A block says nothing about its receivers: each target takes the owners that are its
// own VMs and skips the others.
package block

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

const (
	// PageSize is the number of bytes of a content.
	PageSize = 4096
	// MaxContents bounds the contents of one block.
	MaxContents = 192
	// MaxOwners bounds the owners of one block, over all its contents.
	MaxOwners = 16 << 10
	// MaxLength bounds an encoded block: less than 1 MiB, so that a network layer can carry each.
	MaxLength = MaxRaw + header
	// MaxRaw bounds a block before compression.
	MaxRaw = MaxContents*PageSize + MaxOwners*maxOwner + 16

	header   = 6
	maxOwner = 3 + 3 + 5 + 1
	version  = 3
)

// Compression is how a block is compressed, or its form on the wire.
type Compression uint8

const (
	// None leaves the bytes as they are.
	None Compression = iota
	// Zstd makes the smallest blocks: of a guest's memory, some 390 MB/s of one core become 0.47.
	Zstd
	// S2 takes a third of Zstd's time at both ends, and leaves about a seventh more.
	S2
	forms
)

// Owner is a page of guest RAM: page number Page of RAM block Block of VM.
type Owner struct {
	VM    uint16
	Block uint16
	Page  uint32
}

// Content is the bytes of one or more equal pages.
type Content struct {
	Owners []Owner
	Data   []byte // PageSize bytes
}

// Block is a decoded block.
type Block struct {
	Contents []Content
	Pages    []byte // the contents' bytes, one behind the other
}

// FormatError says why bytes are not a block.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "bad block: " + e.Reason }

// Encoder encodes blocks. It is not safe for concurrent use.
type Encoder struct {
	z   *zstd.Encoder
	raw []byte
}

// NewEncoder returns an encoder.
func NewEncoder() (*Encoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("block encoder: %w", err)
	}
	return &Encoder{z: z}, nil
}

// Append appends the encoded contents to dst. The smaller of the compressed and the plain form is taken.
func (e *Encoder) Append(dst []byte, contents []Content, how Compression) ([]byte, error) {
	var err error
	if e.raw, err = appendRaw(e.raw[:0], contents); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, version, byte(how))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.raw)))
	switch how {
	case Zstd:
		dst = e.z.EncodeAll(e.raw, dst)
	case S2:
		dst = slices.Grow(dst, s2.MaxEncodedLen(len(e.raw)))
		dst = dst[:len(dst)+len(s2.Encode(dst[len(dst):cap(dst)], e.raw))]
	}
	if how != None && len(dst)-start-header < len(e.raw) {
		return dst, nil
	}
	dst[start+1] = byte(None)
	return append(dst[:start+header], e.raw...), nil
}

func appendRaw(b []byte, contents []Content) ([]byte, error) {
	if len(contents) > MaxContents {
		return b, fmt.Errorf("block of %d contents: more than %d", len(contents), MaxContents)
	}
	b = binary.AppendUvarint(b, uint64(len(contents)))
	var last uint32
	total := 0
	for _, c := range contents {
		if total += len(c.Owners); total > MaxOwners || len(c.Data) != PageSize {
			return b, fmt.Errorf("block with %d owners, content of %d bytes: more than %d, or not %d", total, len(c.Data), MaxOwners, PageSize)
		}
		b = binary.AppendUvarint(b, uint64(len(c.Owners)))
		for owners := c.Owners; len(owners) > 0; {
			n := runOf(owners)
			b = appendRun(b, owners[0], n, last)
			last, owners = owners[n-1].Page, owners[n:]
		}
	}
	for _, c := range contents {
		b = append(b, c.Data...)
	}
	return b, nil
}

// runOf is how many of the first owners are consecutive pages.
func runOf(owners []Owner) int {
	n := 1
	for n < len(owners) && owners[n] == (Owner{owners[0].VM, owners[0].Block, owners[n-1].Page + 1}) && owners[n].Page != 0 {
		n++
	}
	return n
}

func appendRun(b []byte, first Owner, n int, last uint32) []byte {
	b = binary.AppendUvarint(b, uint64(first.VM))
	if n == 1 {
		b = binary.AppendUvarint(b, uint64(first.Block)<<1)
		return binary.AppendVarint(b, int64(first.Page)-int64(last))
	}
	b = binary.AppendUvarint(b, uint64(first.Block)<<1|1)
	b = binary.AppendVarint(b, int64(first.Page)-int64(last))
	return binary.AppendUvarint(b, uint64(n-2))
}

// Decoder decodes blocks. It is not safe for concurrent use.
type Decoder struct {
	z        *zstd.Decoder
	raw      []byte
	contents []Content
	owners   []Owner
}

// NewDecoder returns a decoder whose memory is bounded by MaxRaw.
func NewDecoder() (*Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxRaw), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("block decoder: %w", err)
	}
	return &Decoder{z: z}, nil
}

// Close releases the decoder.
func (d *Decoder) Close() { d.z.Close() }

// Decode returns what is in b, valid until the next call. Any error is a *FormatError.
func (d *Decoder) Decode(b []byte) (Block, error) {
	raw, err := d.unpack(b)
	if err != nil {
		return Block{}, err
	}
	p := parser{b: raw}
	n := p.count("contents", MaxContents)
	d.contents, d.owners = d.contents[:0], d.owners[:0]
	var last uint32
	for range n {
		k := p.count("owners", MaxOwners-len(d.owners))
		first := len(d.owners)
		for len(d.owners) < first+k {
			if d.owners = p.run(d.owners, last, first+k-len(d.owners)); p.reason != "" {
				return Block{}, &FormatError{p.reason}
			}
			last = d.owners[len(d.owners)-1].Page
		}
		d.contents = append(d.contents, Content{Owners: d.owners[first:len(d.owners):len(d.owners)]})
	}
	if p.reason == "" && len(p.b) != n*PageSize {
		p.reason = fmt.Sprintf("%d bytes for %d contents", len(p.b), n)
	}
	if p.reason != "" {
		return Block{}, &FormatError{p.reason}
	}
	for i := range d.contents {
		d.contents[i].Data = p.b[i*PageSize : (i+1)*PageSize : (i+1)*PageSize]
	}
	return Block{d.contents, p.b}, nil
}

func (d *Decoder) unpack(b []byte) ([]byte, error) {
	if len(b) < header || len(b) > MaxLength {
		return nil, &FormatError{fmt.Sprintf("length %d", len(b))}
	}
	form := Compression(b[1])
	if b[0] != version || form >= forms {
		return nil, &FormatError{fmt.Sprintf("version %d, form %d", b[0], form)}
	}
	n := binary.BigEndian.Uint32(b[2:])
	if n > MaxRaw {
		return nil, &FormatError{fmt.Sprintf("raw length %d", n)}
	}
	raw, err := d.expand(form, b[header:], int(n))
	if err != nil {
		return nil, &FormatError{err.Error()}
	}
	if len(raw) != int(n) {
		return nil, &FormatError{fmt.Sprintf("raw length %d, said %d", len(raw), n)}
	}
	return raw, nil
}

// expand returns the n bytes that b is said to be.
func (d *Decoder) expand(form Compression, b []byte, n int) ([]byte, error) {
	if form == None {
		return b, nil
	}
	if cap(d.raw) < n {
		d.raw = make([]byte, n)
	}
	if form == Zstd {
		raw, err := d.z.DecodeAll(b, d.raw[:0])
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		d.raw = raw[:0]
		return raw, nil
	}
	if size, err := s2.DecodedLen(b); err != nil || size != n { // it would make room for whatever the bytes say
		return nil, fmt.Errorf("S2: %d bytes, said %d, %v", size, n, err)
	}
	return s2.Decode(d.raw[:n], b)
}

// parser reads varints and keeps the first reason why it could not.
type parser struct {
	b      []byte
	reason string
}

func (p *parser) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || v > limit {
		p.fail("number cut short or too large")
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) count(what string, limit int) int {
	n := int(p.uvarint(uint64(limit)))
	if p.reason != "" {
		p.reason = "count of " + what + ": " + p.reason
	}
	return n
}

// run appends a run of at most limit owners. last is the page before it.
func (p *parser) run(owners []Owner, last uint32, limit int) []Owner {
	o := Owner{VM: uint16(p.uvarint(1<<16 - 1))}
	block := p.uvarint(1<<17 - 1)
	o.Block, o.Page = uint16(block>>1), p.page(last)
	n := 1
	if block&1 != 0 {
		n = 2 + int(p.uvarint(MaxOwners))
	}
	if n > limit || uint64(o.Page)+uint64(n) > 1<<32 {
		p.fail("run of pages longer than there are owners or pages")
	}
	for i := range n {
		if p.reason != "" {
			break
		}
		owners = append(owners, Owner{o.VM, o.Block, o.Page + uint32(i)})
	}
	return owners
}

func (p *parser) page(last uint32) uint32 {
	v, n := binary.Varint(p.b)
	page := int64(last) + v
	if n <= 0 || page < 0 || page >= 1<<32 {
		p.fail("page number cut short or out of range")
		return 0
	}
	p.b = p.b[n:]
	return uint32(page)
}

func (p *parser) fail(reason string) {
	if p.reason == "" {
		p.reason = reason
	}
	p.b = nil
}
