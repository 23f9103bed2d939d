package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// ReturnKind is a message of the target to the source.
type ReturnKind uint16

// The messages of QEMU up to 10.2.
const (
	ReturnShut          ReturnKind = 1 // Value: 0 = all is well; the last message
	ReturnPong          ReturnKind = 2 // Value: that of the PING
	ReturnReqPagesID    ReturnKind = 3 // Start, Length, Block
	ReturnReqPages      ReturnKind = 4 // Start, Length; in the block of the last ReturnReqPagesID of the connection
	ReturnRecvBitmap    ReturnKind = 5 // Block, Bitmap
	ReturnResumeAck     ReturnKind = 6 // Value: 1
	ReturnSwitchoverAck ReturnKind = 7
)

var returnNames = [...]string{
	ReturnShut: "SHUT", ReturnPong: "PONG", ReturnReqPagesID: "REQ_PAGES_ID", ReturnReqPages: "REQ_PAGES",
	ReturnRecvBitmap: "RECV_BITMAP", ReturnResumeAck: "RESUME_ACK", ReturnSwitchoverAck: "SWITCHOVER_ACK",
}

func (k ReturnKind) String() string {
	if int(k) < len(returnNames) && returnNames[k] != "" {
		return returnNames[k]
	}
	return fmt.Sprintf("ReturnKind(%d)", uint16(k))
}

// Return is a message on the return path.
type Return struct {
	Kind   ReturnKind
	Value  uint32 // ReturnShut, ReturnPong, ReturnResumeAck
	Start  uint64 // requests: offset in the block, bytes
	Length uint32 // requests: bytes
	Block  string // ReturnReqPagesID, ReturnRecvBitmap; at most 255 bytes
	Bitmap []byte // ReturnRecvBitmap: a bit per page, in whole little-endian u64 words
}

const (
	returnHeader  = 4 // u16 kind, u16 length
	requestSize   = 12
	bitmapEndMark = 0x0123456789abcdef
)

// ReadReturn reads one message and not a byte more. It is io.EOF when r ends before it, io.ErrUnexpectedEOF when r ends
// inside of it, *FormatError or *RefusedError, with offsets from the first byte of the message, for bad bytes.
func ReadReturn(r io.Reader) (Return, error) {
	var head [returnHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Return{}, err
	}
	m := Return{Kind: ReturnKind(binary.BigEndian.Uint16(head[:]))}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if int(m.Kind) >= len(returnNames) || returnNames[m.Kind] == "" {
		return Return{}, &RefusedError{fmt.Sprintf("return path message %d", uint16(m.Kind)), 0}
	}
	if n > MaxReturnPayload || !m.Kind.legalLength(n) {
		return Return{}, &FormatError{fmt.Sprintf("return path message %v of %d bytes", m.Kind, n), 2}
	}
	payload := make([]byte, n)
	if err := readFull(r, payload); err != nil {
		return Return{}, err
	}
	if err := m.parse(payload); err != nil {
		return Return{}, err
	}
	if m.Kind != ReturnRecvBitmap {
		return m, nil
	}
	var err error
	m.Bitmap, err = readRecvBitmap(r)
	return m, err
}

// legalLength reports whether a payload of n bytes fits the kind.
func (k ReturnKind) legalLength(n int) bool {
	switch k {
	case ReturnShut, ReturnPong, ReturnResumeAck:
		return n == 4
	case ReturnReqPagesID:
		return n > requestSize
	case ReturnReqPages:
		return n == requestSize
	case ReturnRecvBitmap:
		return n > 0
	default:
		return n == 0
	}
}

func (m *Return) parse(b []byte) error {
	switch m.Kind {
	case ReturnShut, ReturnPong, ReturnResumeAck:
		m.Value = binary.BigEndian.Uint32(b)
	case ReturnReqPages, ReturnReqPagesID:
		m.Start, m.Length = binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
		b = b[requestSize:]
	default:
	}
	if m.Kind != ReturnReqPagesID && m.Kind != ReturnRecvBitmap {
		return nil
	}
	if int(b[0]) != len(b)-1 {
		return &FormatError{fmt.Sprintf("return path message %v: name of %d bytes in %d", m.Kind, b[0], len(b)-1), 4}
	}
	m.Block = string(b[1:])
	return nil
}

// readRecvBitmap reads what follows a RECV_BITMAP: u64 size, the bitmap, and an end mark. Memory is taken as the bytes
// arrive.
func readRecvBitmap(r io.Reader) ([]byte, error) {
	var word [8]byte
	if err := readFull(r, word[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint64(word[:])
	if size > MaxRecvBitmap || size%8 != 0 {
		return nil, &FormatError{fmt.Sprintf("received bitmap of %d bytes: want words, at most %d", size, MaxRecvBitmap), 0}
	}
	var b bytes.Buffer
	if n, err := io.CopyN(&b, r, int64(size)); err != nil && (err != io.EOF || n < int64(size)) {
		return nil, unexpected(err)
	}
	if err := readFull(r, word[:]); err != nil {
		return nil, err
	}
	if mark := binary.BigEndian.Uint64(word[:]); mark != bitmapEndMark {
		return nil, &FormatError{fmt.Sprintf("received bitmap ends in %#x", mark), 0}
	}
	return b.Bytes(), nil
}

// readFull is io.ReadFull in the middle of a message.
func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	return unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Append appends the wire form to b.
func (m Return) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(m.Kind))
	at := len(b)
	b = append(b, 0, 0)
	switch m.Kind {
	case ReturnShut, ReturnPong, ReturnResumeAck:
		b = binary.BigEndian.AppendUint32(b, m.Value)
	case ReturnReqPages, ReturnReqPagesID:
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, m.Start), m.Length)
	default:
	}
	if m.Kind == ReturnReqPagesID || m.Kind == ReturnRecvBitmap {
		b = append(append(b, byte(len(m.Block))), m.Block...)
	}
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	if m.Kind == ReturnRecvBitmap {
		b = binary.BigEndian.AppendUint64(b, uint64(len(m.Bitmap)))
		b = binary.BigEndian.AppendUint64(append(b, m.Bitmap...), bitmapEndMark)
	}
	return b
}
