package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// errAborted: the client has ended the handshake in good order.
var errAborted = errors.New("aborted by the client")

// handshake is the talk before the first request.
type handshake struct {
	rw      io.ReadWriter
	exports []Export

	brief      bool   // no zeroes are wanted
	structured bool   // replies are
	maps       bool   // base:allocation was asked for
	mapped     string // of this export
}

// run finds out which export is wanted, and how.
func (h *handshake) run() (Export, error) {
	b := binary.BigEndian.AppendUint64(nil, magicServer)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint16(b, fixedNewstyle|noZeroes)
	if _, err := h.rw.Write(b); err != nil {
		return Export{}, err
	}
	var theirs [4]byte
	if _, err := io.ReadFull(h.rw, theirs[:]); err != nil {
		return Export{}, err
	}
	flags := binary.BigEndian.Uint32(theirs[:])
	if flags&^(fixedNewstyle|noZeroes) != 0 {
		return Export{}, fmt.Errorf("handshake flags %#x", flags)
	}
	h.brief = flags&noZeroes != 0
	for range maxOptions {
		option, data, err := h.readOption()
		if err != nil {
			return Export{}, err
		}
		if e, chosen, err := h.answer(option, data); chosen || err != nil {
			return e, err
		}
	}
	return Export{}, errors.New("too many options")
}

// readOption reads one. Data of one that is too long is nil: it was skipped.
func (h *handshake) readOption() (option uint32, data []byte, err error) {
	var head [16]byte
	if _, err := io.ReadFull(h.rw, head[:]); err != nil {
		return 0, nil, err
	}
	if m := binary.BigEndian.Uint64(head[:]); m != magicOption {
		return 0, nil, fmt.Errorf("option with magic %#x", m)
	}
	option, n := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	if n > maxOption {
		return 0, nil, fmt.Errorf("option %d of %d bytes", option, n)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(h.rw, data)
	return option, data, err
}

// answer answers an option, and tells whether an export was chosen by it.
func (h *handshake) answer(option uint32, data []byte) (e Export, chosen bool, err error) {
	switch option {
	case optExportName:
		e, ok := h.find(string(data))
		if !ok {
			return e, false, fmt.Errorf("there is no export %.64q", data) // to which this option knows no answer
		}
		return e, true, h.begin(e)
	case optAbort:
		return e, false, errors.Join(h.reply(option, repAck, nil), errAborted)
	case optList:
		return e, false, h.list(data)
	case optInfo, optGo:
		return h.info(option, data)
	case optStructuredReply:
		if len(data) != 0 {
			return e, false, h.reply(option, repInvalid, nil)
		}
		h.structured = true
		return e, false, h.reply(option, repAck, nil)
	case optListMeta, optSetMeta:
		return e, false, h.meta(option, data)
	}
	return e, false, h.reply(option, repUnsup, nil)
}

func (h *handshake) reply(option, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicReply)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := h.rw.Write(append(b, data...))
	return err
}

// find finds an export. The empty name is that of the only one.
func (h *handshake) find(name string) (Export, bool) {
	if name == "" && len(h.exports) == 1 {
		return h.exports[0], true
	}
	i := slices.IndexFunc(h.exports, func(e Export) bool { return e.Name == name })
	if i < 0 {
		return Export{}, false
	}
	return h.exports[i], true
}

// begin answers optExportName.
func (h *handshake) begin(e Export) error {
	b := binary.BigEndian.AppendUint64(nil, e.Size)
	b = binary.BigEndian.AppendUint16(b, e.flags())
	if !h.brief {
		b = append(b, make([]byte, 124)...)
	}
	_, err := h.rw.Write(b)
	return err
}

func (h *handshake) list(data []byte) error {
	if len(data) != 0 {
		return h.reply(optList, repInvalid, nil)
	}
	for _, e := range h.exports {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(e.Name)))
		if err := h.reply(optList, repServer, append(b, e.Name...)); err != nil {
			return err
		}
	}
	return h.reply(optList, repAck, nil)
}

// info answers optInfo, and optGo, which chooses the export.
func (h *handshake) info(option uint32, data []byte) (e Export, chosen bool, err error) {
	name, rest, ok := cutText(data)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(binary.BigEndian.Uint16(rest)) {
		return e, false, h.reply(option, repInvalid, nil)
	}
	e, ok = h.find(name)
	if !ok {
		return e, false, h.reply(option, repUnknown, nil)
	}
	b := binary.BigEndian.AppendUint16(nil, infoExport)
	b = binary.BigEndian.AppendUint64(b, e.Size)
	if err := h.reply(option, repInfo, binary.BigEndian.AppendUint16(b, e.flags())); err != nil {
		return e, false, err
	}
	b = binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{minBlock, preferredBlock, MaxRequest} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	if err := h.reply(option, repInfo, b); err != nil {
		return e, false, err
	}
	return e, option == optGo, h.reply(option, repAck, nil)
}

// meta answers which metadata contexts there are, and chooses among them.
func (h *handshake) meta(option uint32, data []byte) error {
	name, queries, ok := h.queries(data)
	if !ok || !h.structured {
		return h.reply(option, repInvalid, nil)
	}
	e, ok := h.find(name)
	if !ok {
		return h.reply(option, repUnknown, nil)
	}
	_, maps := e.Device.(Mapper)
	wanted := func(q string) bool { return q == baseAllocation || option == optListMeta && q == "base:" }
	found := maps && (slices.ContainsFunc(queries, wanted) || option == optListMeta && len(queries) == 0)
	if option == optSetMeta {
		h.maps, h.mapped = found, e.Name
	}
	if found {
		b := binary.BigEndian.AppendUint32(nil, contextID)
		if err := h.reply(option, repMeta, append(b, baseAllocation...)); err != nil {
			return err
		}
	}
	return h.reply(option, repAck, nil)
}

// contextID is the number of base:allocation.
const contextID = 1

// queries takes apart what is asked of metadata contexts.
func (h *handshake) queries(data []byte) (name string, queries []string, ok bool) {
	name, rest, ok := cutText(data)
	if !ok || len(rest) < 4 {
		return "", nil, false
	}
	n := binary.BigEndian.Uint32(rest)
	rest = rest[4:]
	for range n {
		var q string
		if q, rest, ok = cutText(rest); !ok {
			return "", nil, false
		}
		queries = append(queries, strings.Clone(q))
	}
	return name, queries, len(rest) == 0
}

// cutText takes a text from the beginning of data, where its length comes first.
func cutText(data []byte) (text string, rest []byte, ok bool) {
	if len(data) < 4 {
		return "", nil, false
	}
	n := binary.BigEndian.Uint32(data)
	if uint64(n) > uint64(len(data)-4) {
		return "", nil, false
	}
	return string(data[4 : 4+n]), data[4+n:], true
}
