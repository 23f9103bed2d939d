package stream

import (
	"bytes"
	"encoding/binary"
)

// A package begins with POSTCOPY_LISTEN and ends with POSTCOPY_RUN; device state and pings are between them.
var (
	packageHead = AppendCommand(nil, CmdPostcopyListen, nil)
	packageFoot = AppendCommand(nil, CmdPostcopyRun, nil)
)

// packageState is the walk through a package, which may be longer than the buffer.
type packageState struct {
	left int    // bytes not yet returned
	foot []byte // the last bytes returned, as many as packageFoot has
}

// execute checks the payload of a command and notes what it changes for the parser.
func (p *Parser) execute(c Command, payload []byte) error {
	switch c {
	case CmdPostcopyAdvise:
		return p.advise(payload)
	case CmdPostcopyRAMDiscard:
		return p.discard(payload)
	case CmdPackaged:
		return p.packaged(payload)
	case CmdPostcopyListen:
		p.postcopy = true
	}
	return nil
}

func (p *Parser) advise(payload []byte) error {
	if len(payload) == 0 {
		return nil
	}
	a, err := ParseAdvise(payload)
	if err != nil {
		return err
	}
	if a.PageSize != PageSize {
		return p.refused("a target page of %d bytes", a.PageSize)
	}
	p.huge = a.PageSizes != PageSize
	return nil
}

func (p *Parser) discard(payload []byte) error {
	d, err := ParseDiscard(payload)
	if err != nil {
		return p.malformed("command %v: %v", CmdPostcopyRAMDiscard, err)
	}
	i, ok := p.index[d.Block]
	if !ok {
		return p.malformed("discard in unknown block %q", d.Block)
	}
	for _, r := range d.Ranges {
		length := p.blocks[i].Length
		if (r.Start|r.Length)%PageSize != 0 || r.Start > length || r.Length > length-r.Start {
			return p.malformed("discard of %#x+%#x in block %q of %#x bytes", r.Start, r.Length, d.Block, length)
		}
	}
	return nil
}

func (p *Parser) packaged(payload []byte) error {
	n := binary.BigEndian.Uint32(payload)
	if n > MaxPackage || int(n) < len(packageHead)+len(packageFoot) {
		return p.malformed("package of %d bytes: want %d to %d", n, len(packageHead)+len(packageFoot), MaxPackage)
	}
	if p.postcopy {
		return p.malformed("package after post-copy began")
	}
	p.state, p.packed = statePackage, packageState{left: int(n)}
	return nil
}

// packagePiece returns what was received of the package.
func (p *Parser) packagePiece() error {
	first := !p.postcopy
	want := 1
	if first {
		want = len(packageHead)
	}
	if err := p.in.need(want); err != nil {
		return err
	}
	piece, err := p.in.bytes(min(p.in.end-p.in.pos, p.packed.left))
	if err != nil {
		return err
	}
	if first && !bytes.HasPrefix(piece, packageHead) {
		return p.malformed("package does not begin with %v", CmdPostcopyListen)
	}
	p.postcopy = true
	p.packed.left -= len(piece)
	p.packed.note(piece)
	if p.packed.left == 0 {
		if !bytes.Equal(p.packed.foot, packageFoot) {
			return p.malformed("package does not end with %v", CmdPostcopyRun)
		}
		p.state = stateSection
	}
	return p.emit(KindPackage)
}

// note keeps the end of what was returned.
func (s *packageState) note(piece []byte) {
	s.foot = append(s.foot, piece[max(0, len(piece)-len(packageFoot)):]...)
	s.foot = s.foot[max(0, len(s.foot)-len(packageFoot)):]
}
