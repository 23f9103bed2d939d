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
		return p.ram.advise(payload)
	case CmdPostcopyRAMDiscard:
		return p.ram.discard(payload)
	case CmdPackaged:
		if err := p.packed.announce(&p.in, payload); err != nil {
			return err
		}
		if p.postcopy {
			return p.in.malformed("package after post-copy began")
		}
		p.state = statePackage
	case CmdPostcopyListen:
		p.postcopy = true
	}
	return nil
}

// announce takes the payload of CmdPackaged.
func (s *packageState) announce(in *buffer, payload []byte) error {
	n := binary.BigEndian.Uint32(payload)
	if n > MaxPackage || int(n) < len(packageHead)+len(packageFoot) {
		return in.malformed("package of %d bytes: want %d to %d", n, len(packageHead)+len(packageFoot), MaxPackage)
	}
	*s = packageState{left: int(n)}
	return nil
}

// piece takes what was received of the package, of which it may be the first.
func (s *packageState) piece(in *buffer, first bool) error {
	want := 1
	if first {
		want = len(packageHead)
	}
	if err := in.need(want); err != nil {
		return err
	}
	piece, err := in.bytes(min(in.end-in.pos, s.left))
	if err != nil {
		return err
	}
	if first && !bytes.HasPrefix(piece, packageHead) {
		return in.malformed("package does not begin with %v", CmdPostcopyListen)
	}
	s.left -= len(piece)
	s.note(piece)
	if s.left == 0 && !bytes.Equal(s.foot, packageFoot) {
		return in.malformed("package does not end with %v", CmdPostcopyRun)
	}
	return nil
}

// packagePiece parses what was received of the package.
func (p *Parser) packagePiece() error {
	if err := p.packed.piece(&p.in, !p.postcopy); err != nil {
		return err
	}
	p.postcopy = true
	if p.packed.left == 0 {
		p.state = stateSection
	}
	return p.emit(KindPackage)
}

// note keeps the end of what was returned.
func (s *packageState) note(piece []byte) {
	s.foot = append(s.foot, piece[max(0, len(piece)-len(packageFoot)):]...)
	s.foot = s.foot[max(0, len(s.foot)-len(packageFoot)):]
}

// PackageSize is how many bytes of the package are still to come, once CmdPackaged has announced it.
func (p *Parser) PackageSize() (int, error) {
	if p.state != statePackage {
		return 0, ErrNoSection
	}
	return p.packed.left, nil
}

// AppendPackaged appends the announcement of a package of n bytes to b.
func AppendPackaged(b []byte, n int) []byte {
	return AppendCommand(b, CmdPackaged, binary.BigEndian.AppendUint32(nil, uint32(n)))
}
