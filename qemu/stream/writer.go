package stream

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Writer makes a migration stream. It buffers: Flush hands everything over. Errors of the underlying writer stick.
// A Writer is not safe for concurrent use.
//
// It learns the ram section from the items of a Parser that pass through Item, or is told of it by SetRAM.
type Writer struct {
	w    *bufio.Writer
	open body   // the open section
	own  bool   // opened by BeginPart
	last int    // block of the record before in this section, -1 = none
	id   uint32 // of the ram section
	foot bool   // sections have footers
	ram  bool   // id and foot are known
	list []RAMBlock
	head [recordHeader + 1 + 255]byte
}

// body says which records an open section takes.
type body uint8

const (
	bodyNone body = iota
	bodyRAM
	bodyOther
)

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: bufio.NewWriterSize(w, defaultBuffer), last: -1}
}

// SetRAM tells the id of the ram section, whether sections have footers, and the RAM blocks, as Parser has found them.
// The Writer keeps blocks.
func (w *Writer) SetRAM(section uint32, footers bool, blocks []RAMBlock) {
	w.id, w.foot, w.list, w.ram = section, footers, blocks, true
	w.last = -1
}

// Follow takes what SetRAM needs from a parser that is past the start of ram, for a Writer that goes on where the
// parser's stream stopped.
func (w *Writer) Follow(p *Parser) error {
	for _, s := range p.sections {
		if s.Name == ramName && p.ram.listed {
			w.SetRAM(s.ID, p.footers, p.ram.blocks)
			return nil
		}
	}
	return ErrNoRAM
}

// Item writes an item of p as it is, but for the abbreviation of block names. KindTail writes nothing: copy the tail
// with Parser.Tail after a Flush.
func (w *Writer) Item(p *Parser, it *Item) error {
	switch it.Kind {
	case KindPage:
		return w.Page(it.Block, it.Offset, it.Data)
	case KindZero:
		return w.Zero(it.Block, it.Offset)
	case KindSectionStart, KindSectionPart, KindSectionEnd:
		return w.enter(it)
	case KindMemSize:
		w.list = p.Blocks()
	case KindFooter:
		w.leave(it)
	default:
	}
	return w.Raw(it.Raw)
}

// enter passes on the opening of a section.
func (w *Writer) enter(it *Item) error {
	if w.open != bodyNone {
		return ErrSectionOpen
	}
	w.open, w.own = bodyOther, false
	if it.Section.Name == ramName {
		w.open, w.id = bodyRAM, it.Section.ID
	}
	return w.Raw(it.Raw)
}

// leave notes that a section is closed.
func (w *Writer) leave(it *Item) {
	if w.open == bodyRAM {
		w.foot, w.ram = len(it.Raw) > 0, len(w.list) > 0 || w.ram
	}
	w.open = bodyNone
}

// Raw writes bytes as they are. The next record names its block.
func (w *Writer) Raw(b []byte) error {
	w.last = -1
	_, err := w.w.Write(b)
	return err
}

// Command writes a command. No section may be open.
func (w *Writer) Command(c Command, payload []byte) error {
	if w.open != bodyNone {
		return ErrSectionOpen
	}
	if len(payload) > 0xffff {
		return fmt.Errorf("command %v of %d bytes: at most %d", c, len(payload), 0xffff)
	}
	return w.Raw(AppendCommand(w.head[:0], c, payload))
}

// BeginPart opens a section of the writer's own for pages. It may stand wherever no section is open, from the footer of
// the start of ram up to the tail.
func (w *Writer) BeginPart() error {
	if w.open != bodyNone {
		return ErrSectionOpen
	}
	if !w.ram {
		return ErrNoRAM
	}
	w.open, w.own = bodyRAM, true
	return w.Raw(binary.BigEndian.AppendUint32(append(w.head[:0], typePart), w.id))
}

// EndPart closes the section that BeginPart opened.
func (w *Writer) EndPart() error {
	if w.open != bodyRAM || !w.own {
		return ErrNoSection
	}
	w.open, w.own = bodyNone, false
	b := binary.BigEndian.AppendUint64(w.head[:0], flagEOS)
	if w.foot {
		b = binary.BigEndian.AppendUint32(append(b, typeFooter), w.id)
	}
	return w.Raw(b)
}

// Finish ends a post-copy stream: the last of ram, and the end mark. No section may be open.
func (w *Writer) Finish() error {
	if w.open != bodyNone {
		return ErrSectionOpen
	}
	if !w.ram {
		return ErrNoRAM
	}
	b := binary.BigEndian.AppendUint32(append(w.head[:0], typeSectionEnd), w.id)
	b = binary.BigEndian.AppendUint64(b, flagEOS)
	if w.foot {
		b = binary.BigEndian.AppendUint32(append(b, typeFooter), w.id)
	}
	return w.Raw(append(b, typeEnd))
}

// Section is the id of the ram section, and whether sections have footers; ok is false before they are known.
func (w *Writer) Section() (id uint32, footers, ok bool) { return w.id, w.foot, w.ram }

// Page writes a page of a RAM block. Offset is in bytes, data is PageSize bytes.
func (w *Writer) Page(block int, offset uint64, data []byte) error {
	if len(data) != PageSize {
		return fmt.Errorf("page of %d bytes: want %d", len(data), PageSize)
	}
	if err := w.record(flagPage, block, offset); err != nil {
		return err
	}
	_, err := w.w.Write(data)
	return err
}

// Zero writes that a page of a RAM block holds zeros.
func (w *Writer) Zero(block int, offset uint64) error {
	if err := w.record(flagZero, block, offset); err != nil {
		return err
	}
	return w.w.WriteByte(0)
}

// record writes the head of a record.
func (w *Writer) record(flags uint64, block int, offset uint64) error {
	if w.open != bodyRAM {
		return ErrNoSection
	}
	if block < 0 || block >= len(w.list) {
		return fmt.Errorf("ram block %d: the stream has %d", block, len(w.list))
	}
	blk := &w.list[block]
	if offset%PageSize != 0 || blk.Length < PageSize || offset > blk.Length-PageSize {
		return fmt.Errorf("ram block %q of %#x bytes: page at %#x", blk.Name, blk.Length, offset)
	}
	b := w.head[:0]
	if block == w.last {
		b = binary.BigEndian.AppendUint64(b, offset|flags|flagContinue)
	} else {
		b = binary.BigEndian.AppendUint64(b, offset|flags)
		b = append(append(b, byte(len(blk.Name))), blk.Name...)
		w.last = block
	}
	_, err := w.w.Write(b)
	return err
}

// Buffered returns the number of bytes that wait for Flush.
func (w *Writer) Buffered() int { return w.w.Buffered() }

// Flush hands over all that was written.
func (w *Writer) Flush() error { return w.w.Flush() }
