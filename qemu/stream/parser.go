package stream

import (
	"fmt"
	"io"
	"strings"
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
	sections map[uint32]Section
	open     byte // type of the open section
	section  Section
	footers  bool // the first section had a footer
	early    map[string]int

	blocks  []RAMBlock
	index   map[string]int // of blocks, by name
	last    int            // block of the record before, -1 = none
	listed  bool           // the block list was seen
	ramDone bool           // an END of ram was closed
	huge    bool           // ADVISE told of huge pages: the block list may name page sizes

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
	return &Parser{
		in:       buffer{r: r, idle: opt.Idle, buf: make([]byte, max(size, minBuffer))},
		opt:      opt,
		sections: map[uint32]Section{},
		early:    map[string]int{},
		index:    map[string]int{},
		last:     -1,
	}
}

// Header returns what the stream says of its source. It is empty before the first item.
func (p *Parser) Header() Header { return p.header }

// Blocks returns the RAM blocks in the order of their first listing. It is empty before KindMemSize. The caller must
// not change the slice.
func (p *Parser) Blocks() []RAMBlock { return p.blocks }

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
		return p.malformed("device state outside of a package")
	}
	if (t == typeFull || t == typeEnd) && p.ramDone && !p.postcopy {
		return p.beginTail()
	}
	p.in.pos++
	switch t {
	case typeCommand:
		return p.command()
	case typeStart:
		return p.start()
	case typePart, typeSectionEnd:
		return p.resume(t)
	case typeFull:
		return p.earlyDevice()
	case typeEnd:
		return p.end()
	default:
		return p.malformed("section type %#02x", t)
	}
}

// start parses the head of a section that was not seen before.
func (p *Parser) start() error {
	s, err := p.sectionHead()
	if err != nil {
		return err
	}
	if _, ok := p.sections[s.ID]; ok {
		return p.malformed("section %q: id %d is taken", s.Name, s.ID)
	}
	if err := p.accept(s); err != nil {
		return err
	}
	if len(p.sections) == MaxSections {
		return p.malformed("more than %d sections", MaxSections)
	}
	p.sections[s.ID] = s
	return p.enter(typeStart, s)
}

// sectionHead parses the fields of START and FULL that follow the type.
func (p *Parser) sectionHead() (Section, error) {
	id, err := p.in.u32()
	if err != nil {
		return Section{}, err
	}
	b, err := p.in.str8()
	if err != nil {
		return Section{}, err
	}
	s := Section{ID: id, Name: string(b)}
	if s.Instance, err = p.in.u32(); err != nil {
		return Section{}, err
	}
	s.Version, err = p.in.u32()
	return s, err
}

// accept refuses sections whose body cannot be delimited.
func (p *Parser) accept(s Section) error {
	switch {
	case s.Name == ramName && s.Version == ramVersion && s.Instance == 0:
		return nil
	case s.Name == bitmapName && s.Version == 1:
		return nil
	case s.Name == ramName || s.Name == bitmapName:
		return p.refused("section %q instance %d version %d", s.Name, s.Instance, s.Version)
	case s.Name == "block":
		return p.refused("capability block (section %q)", s.Name)
	case s.Name == "vfio" || strings.HasSuffix(s.Name, "/vfio"):
		return p.refused("a VFIO device (section %q)", s.Name)
	default:
		return p.refused("section %q", s.Name)
	}
}

// resume parses the head of a further piece of a section.
func (p *Parser) resume(t byte) error {
	id, err := p.in.u32()
	if err != nil {
		return err
	}
	s, ok := p.sections[id]
	if !ok {
		return p.malformed("section id %d was not started", id)
	}
	return p.enter(t, s)
}

func (p *Parser) enter(t byte, s Section) error {
	p.open, p.section = t, s
	p.state = stateRAM
	if s.Name == bitmapName {
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

// footer closes the open section.
func (p *Parser) footer() error {
	if err := p.footerBytes(p.section); err != nil {
		return err
	}
	err := p.emit(KindFooter)
	if p.section.Name == ramName && p.open == typeSectionEnd {
		p.ramDone = true
	}
	p.open, p.section, p.state = 0, Section{}, stateSection
	return err
}

// footerBytes consumes the footer of s when there is one: machine types before 2.4 send none.
func (p *Parser) footerBytes(s Section) error {
	t, err := p.in.peek()
	if err != nil || t != typeFooter {
		return err
	}
	p.in.pos++
	id, err := p.in.u32()
	if err != nil {
		return err
	}
	if id != s.ID {
		return p.malformed("footer of section %d in section %q, id %d", id, s.Name, s.ID)
	}
	p.footers = true
	return nil
}

// end parses the end mark of a post-copy stream.
func (p *Parser) end() error {
	if !p.postcopy {
		return p.malformed("end of the stream before the end of ram")
	}
	p.state = stateDone
	return p.emit(KindEnd)
}

func (p *Parser) malformed(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...), p.in.base + uint64(p.in.start)}
}

func (p *Parser) refused(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...), p.in.base + uint64(p.in.start)}
}
