package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// greeting is the client's side of the talk before the first request.
type greeting struct {
	rw   io.ReadWriter
	name string // of the export

	structured bool
	contexts   map[uint32]string // that the server tells of, by the numbers that it has given them
	size       uint64
	flags      uint16
	largest    uint32 // request; 0: not told
}

// maxReplies bounds how many replies one option gets.
const maxReplies = 1000

// run chooses the export, with structured replies and what is wanted of contexts, as far as the server knows these.
func (g *greeting) run(contexts []string) error {
	var head [18]byte
	if _, err := io.ReadFull(g.rw, head[:]); err != nil {
		return err
	}
	theirs := binary.BigEndian.Uint16(head[16:])
	if binary.BigEndian.Uint64(head[:]) != magicServer || binary.BigEndian.Uint64(head[8:]) != magicOption || theirs&fixedNewstyle == 0 {
		return errors.New("is no NBD server of the newstyle")
	}
	if _, err := g.rw.Write(binary.BigEndian.AppendUint32(nil, uint32(theirs&(fixedNewstyle|noZeroes)))); err != nil {
		return err
	}
	err := g.ask(optStructuredReply, nil, nil)
	if _, refused := errors.AsType[refusal](err); err != nil && !refused {
		return err
	}
	if g.structured = err == nil; g.structured && len(contexts) > 0 {
		if err := g.choose(contexts); err != nil {
			return err
		}
	}
	return g.begin()
}

// choose asks the server to tell of contexts. One that knows none of them is as good as one that has none.
func (g *greeting) choose(contexts []string) error {
	g.contexts = make(map[uint32]string)
	data := appendText(nil, g.name)
	data = binary.BigEndian.AppendUint32(data, uint32(len(contexts)))
	for _, c := range contexts {
		data = appendText(data, c)
	}
	err := g.ask(optSetMeta, data, func(kind uint32, data []byte) error {
		if kind != repMeta || len(data) < 4 || !slices.Contains(contexts, string(data[4:])) {
			return fmt.Errorf("reply %d of %d bytes to which contexts are wanted", kind, len(data))
		}
		g.contexts[binary.BigEndian.Uint32(data)] = string(data[4:])
		return nil
	})
	if _, refused := errors.AsType[refusal](err); refused {
		return nil
	}
	return err
}

// begin chooses the export.
func (g *greeting) begin() error {
	data := appendText(nil, g.name)
	data = binary.BigEndian.AppendUint16(data, 1)
	data = binary.BigEndian.AppendUint16(data, infoBlockSize)
	told := false
	err := g.ask(optGo, data, func(kind uint32, data []byte) error {
		if kind != repInfo || len(data) < 2 {
			return fmt.Errorf("reply %d of %d bytes to which export is wanted", kind, len(data))
		}
		switch info, data := binary.BigEndian.Uint16(data), data[2:]; {
		case info == infoExport && len(data) == 10:
			g.size, g.flags, told = binary.BigEndian.Uint64(data), binary.BigEndian.Uint16(data[8:]), true
		case info == infoBlockSize && len(data) == 12:
			g.largest = binary.BigEndian.Uint32(data[8:])
		case info == infoExport || info == infoBlockSize:
			return fmt.Errorf("information %d of %d bytes", info, len(data))
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !told || g.flags&hasFlags == 0:
		return errors.New("the server does not say how large the export is")
	case g.size > 1<<63-1:
		return fmt.Errorf("an export of %d bytes", g.size)
	}
	return nil
}

// refusal is a server's refusal of an option, after which the next one may be asked.
type refusal struct {
	kind uint32
	text string
}

func (r refusal) Error() string {
	return fmt.Sprintf("the server refuses (%#x): %.256q", r.kind, r.text)
}

// ask sends an option, and yields the replies to it that come before it is acknowledged.
func (g *greeting) ask(option uint32, data []byte, yield func(kind uint32, data []byte) error) error {
	b := binary.BigEndian.AppendUint64(nil, magicOption)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	if _, err := g.rw.Write(append(b, data...)); err != nil {
		return err
	}
	for range maxReplies {
		kind, data, err := g.readReply(option)
		switch {
		case err != nil:
			return err
		case kind == repAck:
			return nil
		case kind >= repError:
			return refusal{kind, strings.ToValidUTF8(string(data), "?")}
		case yield == nil:
			return fmt.Errorf("reply %d to option %d", kind, option)
		}
		if err := yield(kind, data); err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d replies to option %d", maxReplies, option)
}

// readReply reads one reply to an option.
func (g *greeting) readReply(option uint32) (kind uint32, data []byte, err error) {
	var head [20]byte
	if _, err := io.ReadFull(g.rw, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[16:])
	if m, to := binary.BigEndian.Uint64(head[:]), binary.BigEndian.Uint32(head[8:]); m != magicReply || to != option || n > maxOption {
		return 0, nil, fmt.Errorf("reply with magic %#x of %d bytes to option %d, not %d", m, n, to, option)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(g.rw, data)
	return binary.BigEndian.Uint32(head[12:]), data, err
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}
