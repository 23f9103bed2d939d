package stream

import (
	"io"
)

// Options of a Parser. The zero value is good.
type Options struct {
	// Buffer is the number of bytes read at once; 0 means 256 KiB. The queue between QEMU and the caller of Next is at
	// most this long.
	Buffer int

	// Idle, when not nil, is called before each Read of the source, since that may block: the moment to flush what was
	// made of the items so far. An error of it ends the parse.
	Idle func() error

	// NoDescription tells that the source's machine has suppress-vmdesc=on. Its tail has no mark at its end, so the
	// tail is what comes before the source closes the connection.
	NoDescription bool
}

// The types of sections.
const (
	typeEnd         = 0x00
	typeStart       = 0x01
	typePart        = 0x02
	typeSectionEnd  = 0x03
	typeFull        = 0x04
	typeSubsection  = 0x05
	typeDescription = 0x06
	typeConfig      = 0x07
	typeCommand     = 0x08
	typeFooter      = 0x7e
)

const footerSize = 5

// state says what the next bytes are.
//
//	header -> section <-> ram, bitmap -> footer -> section
//	          section <-> package
//	          section -> tail -> done      (pre-copy)
//	          section -> done              (post-copy)
type state uint8

const (
	stateHeader state = iota
	stateSection
	stateRAM
	stateBitmap
	stateFooter
	statePackage
	stateTail
	stateDone
)

// Parser splits a migration stream into items. It is not safe for concurrent use.
type Parser struct {
	in    buffer
	opt   Options
	state state
	err   error // sticky
	item  Item

	header   Header
	sections sectionTable
	open     byte // type of the open section
	section  Section
	footers  bool // the first section had a footer
	early    earlyDevices

	ram     ramReader
	ramDone bool // an END of ram was closed

	postcopy bool
	packed   packageState
	tail     tailScanner
}

// NewParser returns a parser of the stream that r delivers from its first byte.
func NewParser(r io.Reader, opt Options) *Parser {
	size := opt.Buffer
	if size == 0 {
		size = defaultBuffer
	}
	p := &Parser{
		in:       buffer{r: r, idle: opt.Idle, buf: make([]byte, max(size, minBuffer))},
		opt:      opt,
		sections: sectionTable{},
		early:    earlyDevices{},
	}
	p.ram = ramReader{in: &p.in, index: map[string]int{}, last: -1}
	return p
}

// Header returns what the stream says of its source. It is empty before the first item.
func (p *Parser) Header() Header { return p.header }

// Blocks returns the RAM blocks in the order of their first listing. It is empty before KindMemSize. The caller must
// not change the slice.
func (p *Parser) Blocks() []RAMBlock { return p.ram.blocks }

// Offset returns the number of stream bytes that the items returned so far take, the current one included.
func (p *Parser) Offset() uint64 { return p.in.offset() }

// Footers reports whether sections end in a footer. It is known after the first KindFooter.
func (p *Parser) Footers() bool { return p.footers }

// Next returns the next item. It is io.EOF after the end of the stream, io.ErrUnexpectedEOF when the source closed the
// connection before, *FormatError or *RefusedError for bytes that cannot be parsed, ErrTailPending when Tail has to be
// called instead, or the error of the source. After an error the stream is lost: the same error returns for ever.
func (p *Parser) Next() (*Item, error) {
	if p.err != nil {
		return nil, p.err
	}
	p.in.begin()
	if err := p.next(); err != nil {
		p.in.pos = p.in.start
		if err != ErrTailPending {
			p.err = err
		}
		return nil, err
	}
	return &p.item, nil
}

func (p *Parser) next() error {
	switch p.state {
	case stateRAM:
		return p.record()
	case stateFooter:
		return p.footer()
	case stateSection:
		return p.sectionItem()
	case stateBitmap:
		return p.bitmapChunk()
	case statePackage:
		return p.packagePiece()
	case stateHeader:
		return p.headerItem()
	case stateTail:
		return ErrTailPending
	default:
		return io.EOF
	}
}

// emit makes the open token the current item.
func (p *Parser) emit(k Kind) error {
	p.item = Item{Kind: k, Raw: p.in.token(), Section: p.section}
	return nil
}

// sectionItem parses what may stand between two sections.
func (p *Parser) sectionItem() error {
	t, err := p.in.peek()
	if err != nil {
		return err
	}
	if p.postcopy && t == typeFull {
		return p.in.malformed("device state outside of a package")
	}
	if (t == typeFull || t == typeEnd) && p.ramDone && !p.postcopy {
		return p.beginTail()
	}
	p.in.pos++
	switch t {
	case typeCommand:
		return p.command()
	case typeStart, typePart, typeSectionEnd:
		return p.enter(t)
	case typeFull:
		return p.earlyDevice()
	case typeEnd:
		return p.end()
	default:
		return p.in.malformed("section type %#02x", t)
	}
}

// enter parses the head of a section, or of a further piece of one.
func (p *Parser) enter(t byte) (err error) {
	if t == typeStart {
		p.section, err = p.sections.start(&p.in)
	} else {
		p.section, err = p.sections.resume(&p.in)
	}
	if err != nil {
		return err
	}
	p.open, p.state = t, stateRAM
	if p.section.Name == bitmapName {
		p.state = stateBitmap
	}
	switch t {
	case typeStart:
		return p.emit(KindSectionStart)
	case typePart:
		return p.emit(KindSectionPart)
	default:
		return p.emit(KindSectionEnd)
	}
}

// record parses one RAM record.
func (p *Parser) record() error {
	k, err := p.ram.record(p.open == typeStart, &p.item)
	switch {
	case err != nil:
		return err
	case k == KindPage, k == KindZero:
		return nil
	case k == KindEOS:
		p.state = stateFooter
	}
	return p.emit(k)
}

// bitmapChunk parses one chunk of the dirty bitmap section.
func (p *Parser) bitmapChunk() error {
	last, err := readBitmapChunk(&p.in)
	if err != nil {
		return err
	}
	if last {
		p.state = stateFooter
	}
	return p.emit(KindBlob)
}

// earlyDevice parses the state of a device that comes before the end of ram.
func (p *Parser) earlyDevice() error {
	s, footer, err := p.early.read(&p.in)
	p.footers = p.footers || footer
	if err != nil {
		return err
	}
	err = p.emit(KindEarly)
	p.item.Section = s
	return err
}

// headerItem parses the header.
func (p *Parser) headerItem() error {
	if err := p.header.read(&p.in); err != nil {
		return err
	}
	p.state = stateSection
	return p.emit(KindHeader)
}

// footer closes the open section.
func (p *Parser) footer() error {
	footer, err := p.section.readFooter(&p.in)
	p.footers = p.footers || footer
	if err != nil {
		return err
	}
	err = p.emit(KindFooter)
	if p.section.Name == ramName && p.open == typeSectionEnd {
		p.ramDone = true
	}
	p.open, p.section, p.state = 0, Section{}, stateSection
	return err
}

// end parses the end mark of a post-copy stream.
func (p *Parser) end() error {
	if !p.postcopy {
		return p.in.malformed("end of the stream before the end of ram")
	}
	p.state = stateDone
	return p.emit(KindEnd)
}
