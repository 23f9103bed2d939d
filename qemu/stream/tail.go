package stream

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Tail tells what was copied of a tail.
type Tail struct {
	Bytes    uint64 // copied in all
	Sections int    // devices in the tail, from its description
	Verified bool   // the description was found at the very end and adds up to the tail's length
}

// beginTail stops in front of the first section of device state.
func (p *Parser) beginTail() error {
	p.state = stateTail
	p.tail = tailScanner{early: p.early, footers: p.footers}
	p.item = Item{Kind: KindTail}
	return nil
}

// Tail copies the tail to w, piece by piece as it arrives, and returns when it is complete. It may be called once Next
// returned KindTail.
//
// A source with a return path keeps the connection open behind the tail, so the end is found in the bytes: a tail is
// complete when everything received so far ends in a description that accounts for each byte before it. The device
// state of a hostile guest can contain a copy of such an end and, given a Read that stops exactly there, be taken for
// it. Therefore Tail may be called again after it returned without an error: it copies what follows, up to the next
// end, and returns io.EOF when the source closes the connection and nothing followed. Nobody has to rely on the end
// that is found here: the target's loader is the authority and answers with SHUT.
//
// The same holds for a tail whose description does not add up or which has none: Tail keeps copying, and waiting. A
// deadline on the source gets the caller out; it may call again then, no byte is lost.
//
// The source closing the connection early is io.ErrUnexpectedEOF, or *FormatError when the description did not add up.
func (p *Parser) Tail(w io.Writer) (Tail, error) {
	if p.state != stateTail {
		return Tail{}, ErrNoTail
	}
	if p.err != nil && p.err != io.EOF {
		return p.tail.result, p.err
	}
	for {
		done, err := p.tailPiece(w)
		if err != nil || done {
			return p.tail.result, err
		}
	}
}

// tailPiece copies what was received, or waits for more of it. It reports whether the tail is complete.
func (p *Parser) tailPiece(w io.Writer) (bool, error) {
	piece := p.in.take()
	if len(piece) == 0 {
		return p.tailWait()
	}
	p.err = nil
	if p.tail.result.Bytes+uint64(len(piece)) > MaxTail {
		p.err = p.in.malformed("tail of more than %d bytes", MaxTail)
		return false, p.err
	}
	if _, err := w.Write(piece); err != nil {
		p.err = err
		return false, err
	}
	if !p.tail.feed(piece) || p.opt.NoDescription {
		return false, nil
	}
	p.err = io.EOF
	return true, nil
}

// tailWait reads once, behind the bytes copied so far.
func (p *Parser) tailWait() (bool, error) {
	err := p.in.fill(1)
	if err != io.EOF {
		return false, err
	}
	s := &p.tail
	switch {
	case p.err == io.EOF:
		return false, io.EOF
	case p.opt.NoDescription && s.last == typeEnd:
		p.err = io.EOF
		return true, nil
	case s.mismatch != nil:
		p.err = p.in.malformed("%v", s.mismatch)
	default:
		p.err = io.ErrUnexpectedEOF
	}
	return false, p.err
}

// tailScanner finds the end of a tail in pieces of any size. The end is
//
//	00 06 u32 n, n bytes of JSON
//
// with nothing received behind it. JSON contains no NUL while the mark begins with one, so all but the last candidate
// can be dropped as soon as the next one shows: it holds at most one description.
type tailScanner struct {
	early   map[string]int // devices that the description lists and that came before the tail
	footers bool

	window []byte // the end of what was received: from the candidate on, or a possible piece of a mark
	base   uint64 // offset of window[0] in the tail
	found  bool   // a candidate begins at window[0]
	clean  int    // bytes of the candidate that were searched for NUL
	last   byte   // of what was received

	result   Tail
	mismatch error // of the last description that reached the end and did not account for the tail
}

const (
	markSize = 6 // 00 06 u32
	jsonHead = `{"`
)

// markStart is as much of a mark as is constant: MaxDescription keeps the first byte of the length zero.
var markStart = []byte{typeEnd, typeDescription, 0}

// feed takes the next piece and reports whether the tail is complete with it.
func (s *tailScanner) feed(piece []byte) bool {
	if len(piece) == 0 {
		return s.result.Verified
	}
	s.window = append(s.window, piece...)
	s.last = piece[len(piece)-1]
	s.result.Bytes += uint64(len(piece))
	s.result.Verified, s.mismatch = false, nil
	at := 0
	for {
		if !s.found && !s.next(&at) {
			break
		}
		verdict := s.judge(s.window[at:], s.base+uint64(at))
		if verdict == candidateComplete {
			s.result.Verified = true
		}
		if verdict != candidateFalse {
			break
		}
		s.found = false
		at++
	}
	s.drop(at)
	return s.result.Verified
}

// next moves at to the next candidate. Without one it stays in front of what may become the head of one.
func (s *tailScanner) next(at *int) bool {
	for {
		rest := s.window[*at:]
		i := bytes.Index(rest, markStart)
		if i < 0 {
			*at += max(0, len(rest)-len(markStart)+1)
			return false
		}
		*at += i
		if rest = rest[i:]; len(rest) < markSize+len(jsonHead) {
			return false
		}
		if string(rest[markSize:markSize+len(jsonHead)]) == jsonHead {
			s.found, s.clean = true, markSize
			return true
		}
		*at++
	}
}

type verdict int

const (
	candidatePending verdict = iota
	candidateFalse
	candidateComplete
)

// judge decides about the candidate that c begins with, offset bytes behind the begin of the tail.
func (s *tailScanner) judge(c []byte, offset uint64) verdict {
	end := markSize + int(binary.BigEndian.Uint32(c[2:]))
	if len(c) > end || bytes.IndexByte(c[s.clean:], 0) >= 0 {
		return candidateFalse
	}
	s.clean = len(c)
	if len(c) < end {
		return candidatePending
	}
	n, err := describedSections(c[markSize:], offset, s.early, s.footers)
	if err != nil {
		s.mismatch = err
		return candidateFalse
	}
	s.result.Sections = n
	return candidateComplete
}

// drop forgets the first n bytes of the window.
func (s *tailScanner) drop(n int) {
	s.window = append(s.window[:0], s.window[n:]...)
	s.base += uint64(n)
}
