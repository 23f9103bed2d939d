package stream

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Command is a command in the stream.
type Command uint16

// The commands of QEMU up to 10.2.
const (
	CmdOpenReturnPath     Command = 1  // no payload
	CmdPing               Command = 2  // u32 value, comes back as a PONG
	CmdPostcopyAdvise     Command = 3  // an Advise, or nothing when only dirty bitmaps are post-copied
	CmdPostcopyListen     Command = 4  // no payload
	CmdPostcopyRun        Command = 5  // no payload
	CmdPostcopyRAMDiscard Command = 6  // a Discard
	CmdPackaged           Command = 7  // u32 length of the package that follows outside of the command
	CmdEnableCOLO         Command = 8  // refused
	CmdPostcopyResume     Command = 9  // refused
	CmdRecvBitmap         Command = 10 // refused
	CmdSwitchoverStart    Command = 11 // no payload
)

const (
	commandHeader = 5 // 08 u16 command, u16 length
	adviseSize    = 16
	rangeSize     = 16
)

var commandNames = [...]string{
	CmdOpenReturnPath: "OPEN_RETURN_PATH", CmdPing: "PING", CmdPostcopyAdvise: "POSTCOPY_ADVISE",
	CmdPostcopyListen: "POSTCOPY_LISTEN", CmdPostcopyRun: "POSTCOPY_RUN",
	CmdPostcopyRAMDiscard: "POSTCOPY_RAM_DISCARD", CmdPackaged: "PACKAGED", CmdEnableCOLO: "ENABLE_COLO",
	CmdPostcopyResume: "POSTCOPY_RESUME", CmdRecvBitmap: "RECV_BITMAP", CmdSwitchoverStart: "SWITCHOVER_START",
}

func (c Command) String() string {
	if int(c) < len(commandNames) && commandNames[c] != "" {
		return commandNames[c]
	}
	return fmt.Sprintf("Command(%d)", uint16(c))
}

// refusal is the noun of a RefusedError for a command that is known but not supported.
func (c Command) refusal() string {
	switch c {
	case CmdEnableCOLO:
		return "capability x-colo (command ENABLE_COLO)"
	case CmdPostcopyResume, CmdRecvBitmap:
		return fmt.Sprintf("post-copy recovery (command %v)", c)
	default:
		return ""
	}
}

// legalLength reports whether a payload of n bytes fits the command.
func (c Command) legalLength(n int) bool {
	switch c {
	case CmdPing, CmdPackaged:
		return n == 4
	case CmdPostcopyAdvise:
		return n == 0 || n == adviseSize
	case CmdPostcopyRAMDiscard:
		return n >= 3
	default:
		return n == 0
	}
}

// AppendCommand appends the wire form of a command to b. The payload must fit a u16 length.
func AppendCommand(b []byte, c Command, payload []byte) []byte {
	b = append(b, typeCommand)
	b = binary.BigEndian.AppendUint16(b, uint16(c))
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}

// ReadCommand reads one command and not a byte more, of a stream that has no header and no sections before it: that of a post-copy migration that is
// resumed. Errors are those of ReadReturn.
func ReadCommand(r io.Reader) (Command, []byte, error) {
	var head [commandHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0] != typeCommand {
		return 0, nil, &FormatError{fmt.Sprintf("section type %#02x instead of a command", head[0]), 0}
	}
	payload := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if err := readFull(r, payload); err != nil {
		return 0, nil, err
	}
	return Command(binary.BigEndian.Uint16(head[1:])), payload, nil
}

// AppendPing appends a PING with the given value to b.
func AppendPing(b []byte, value uint32) []byte {
	return AppendCommand(b, CmdPing, binary.BigEndian.AppendUint32(nil, value))
}

// ParsePing reads the payload of CmdPing.
func ParsePing(payload []byte) (uint32, error) {
	if len(payload) < 4 {
		return 0, io.ErrUnexpectedEOF
	}
	return binary.BigEndian.Uint32(payload), nil
}

// Advise is the payload of CmdPostcopyAdvise. A target that executes it discards all of its RAM.
type Advise struct {
	PageSizes uint64 // OR of the host page sizes of all RAM blocks
	PageSize  uint64 // size of the target page
}

// ParseAdvise reads the payload of CmdPostcopyAdvise when it is not empty.
func ParseAdvise(payload []byte) (Advise, error) {
	if len(payload) < adviseSize {
		return Advise{}, io.ErrUnexpectedEOF
	}
	return Advise{binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])}, nil
}

// Append appends the payload to b.
func (a Advise) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, a.PageSizes), a.PageSize)
}

// Discard is the payload of CmdPostcopyRAMDiscard: ranges of one RAM block that the target has to drop.
type Discard struct {
	Block  string
	Ranges []Range
}

// Range is a part of a RAM block, bytes.
type Range struct{ Start, Length uint64 }

// ParseDiscard reads the payload of CmdPostcopyRAMDiscard. It does not know RAM blocks; the parser has checked that the
// ranges are inside of theirs.
func ParseDiscard(payload []byte) (Discard, error) {
	if len(payload) < 2 || len(payload) < 3+int(payload[1]) {
		return Discard{}, io.ErrUnexpectedEOF
	}
	if payload[0] != 0 {
		return Discard{}, fmt.Errorf("discard version %d: want 0", payload[0])
	}
	name, rest := payload[2:2+int(payload[1])], payload[2+int(payload[1]):]
	if rest[0] != 0 {
		return Discard{}, fmt.Errorf("discard of block %q: name ends in %#x", name, rest[0])
	}
	rest = rest[1:]
	if len(rest)%rangeSize != 0 {
		return Discard{}, io.ErrUnexpectedEOF
	}
	d := Discard{Block: string(name), Ranges: make([]Range, 0, len(rest)/rangeSize)}
	for ; len(rest) > 0; rest = rest[rangeSize:] {
		d.Ranges = append(d.Ranges, Range{binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:])})
	}
	return d, nil
}

// Append appends the payload to b. The name must fit a u8 length.
func (d Discard) Append(b []byte) []byte {
	b = append(b, 0, byte(len(d.Block)))
	b = append(append(b, d.Block...), 0)
	for _, r := range d.Ranges {
		b = binary.BigEndian.AppendUint64(b, r.Start)
		b = binary.BigEndian.AppendUint64(b, r.Length)
	}
	return b
}

// command parses a command behind its type.
func (p *Parser) command() error {
	head, err := p.in.bytes(commandHeader - 1)
	if err != nil {
		return err
	}
	c, n := Command(binary.BigEndian.Uint16(head)), int(binary.BigEndian.Uint16(head[2:]))
	if what := c.refusal(); what != "" {
		return p.in.refused("%s", what)
	}
	if int(c) >= len(commandNames) || commandNames[c] == "" {
		return p.in.refused("command %d", uint16(c))
	}
	if !c.legalLength(n) {
		return p.in.malformed("command %v of %d bytes", c, n)
	}
	payload, err := p.in.bytes(n)
	if err != nil {
		return err
	}
	if err := p.execute(c, payload); err != nil {
		return err
	}
	err = p.emit(KindCommand)
	p.item.Command, p.item.Payload = c, payload
	return err
}
