package wire

import (
	"encoding/binary"
	"fmt"
)

const (
	// MaxOutstanding is how many blocks of a channel may be under way at once, so also how many a report lists.
	MaxOutstanding = 4096
	// MaxReported is how many channels a report lists at most.
	MaxReported = 1024

	placedTag = 0xff
)

// Path is what a target has seen of a channel on one path, multicast or unicast.
type Path struct {
	Highest uint64 // highest sequence that has arrived; 0 = none
	Count   uint32 // datagrams that have arrived, modulo 2^32
	Age     uint32 // microseconds between the arrival of Highest and the report, at most MaxAge
}

// MaxAge is the largest age that a report states.
const MaxAge = 1<<32 - 1

// Progress is one channel in a report: all blocks below Floor are placed, Blocks tells of Floor and those behind it as
// far as anything is known of them.
type Progress struct {
	Channel   uint16
	Multicast Path
	Unicast   Path
	Floor     uint32
	Blocks    []Holding
}

// Holding is what a target has of a block: all (Placed), or distinct symbols of each stripe. No stripes: nothing.
type Holding struct {
	Placed  bool
	Stripes []uint8
}

// Report is what a target tells the source every few milliseconds while something changes, and now and then when not.
type Report struct {
	Overflow uint32 // datagrams that the target's kernel dropped for want of socket buffer, so far
	Joins    uint32 // how often the target joined a group, so far
	Leaves   uint32 // how often it left one, so far
	Channels []Progress
}

// Report has its own reading and writing in place: it is the one message that is frequent and long.

// Append writes the report behind b.
func (r *Report) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(TypeReport)), r.Overflow)
	b = binary.BigEndian.AppendUint32(b, r.Joins)
	b = binary.BigEndian.AppendUint32(b, r.Leaves)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Channels)))
	for i := range r.Channels {
		b = r.Channels[i].append(b)
	}
	return b
}

func (p *Progress) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, p.Channel)
	b = p.Unicast.append(p.Multicast.append(b))
	b = binary.BigEndian.AppendUint32(b, p.Floor)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Blocks)))
	for _, h := range p.Blocks {
		if h.Placed {
			b = append(b, placedTag)
			continue
		}
		b = append(append(b, byte(len(h.Stripes))), h.Stripes...)
	}
	return b
}

func (p *Path) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.Highest)
	b = binary.BigEndian.AppendUint32(b, p.Count)
	return binary.BigEndian.AppendUint32(b, p.Age)
}

// Parse reads a report into r, whose slices are used again; the stripes of a holding alias b.
func (r *Report) Parse(b []byte) error {
	d := decoder{b: b}
	if Type(d.uint8()) != TypeReport {
		d.bad = true
	}
	r.Overflow, r.Joins, r.Leaves = d.uint32(), d.uint32(), d.uint32()
	n := int(d.uint16())
	if d.bad || n > MaxReported {
		return fmt.Errorf("report: %w", ErrFormat)
	}
	if cap(r.Channels) < n {
		r.Channels = make([]Progress, n)
	}
	r.Channels = r.Channels[:n]
	for i := range r.Channels {
		if !r.Channels[i].parse(&d) {
			return fmt.Errorf("report: channel %d of %d: %w", i, n, ErrFormat)
		}
	}
	if len(d.b) != 0 {
		return fmt.Errorf("report: %d bytes behind its end: %w", len(d.b), ErrFormat)
	}
	return nil
}

func (p *Progress) parse(d *decoder) bool {
	p.Channel = d.uint16()
	p.Multicast.parse(d)
	p.Unicast.parse(d)
	p.Floor = d.uint32()
	n := int(d.uint16())
	p.Blocks = p.Blocks[:0]
	if d.bad || n > MaxOutstanding {
		return false
	}
	for range n {
		h := Holding{}
		if tag := d.uint8(); tag == placedTag {
			h.Placed = true
		} else if tag <= MaxStripes {
			h.Stripes = d.bytes(int(tag))
		} else {
			return false
		}
		if d.bad {
			return false
		}
		p.Blocks = append(p.Blocks, h)
	}
	return true
}

func (p *Path) parse(d *decoder) {
	p.Highest = d.uint64()
	p.Count = d.uint32()
	p.Age = d.uint32()
}

// decoder reads numbers until the bytes end; from then on it is bad and all it reads is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) bytes(n int) []byte {
	if len(d.b) < n {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint8() uint8 {
	if v := d.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if v := d.bytes(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if v := d.bytes(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.bytes(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}
