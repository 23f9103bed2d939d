package control

import (
	"encoding/binary"
	"errors"
	"iter"
)

// PageBytes is the size of a page of guest RAM.
const PageBytes = 4096

var errPages = errors.New("cut off in the middle")

// lacksHead and runBytes are the sizes in a Lacks, pageHead and wantBytes those in Pages and Wants.
const (
	lacksHead = 2
	runBytes  = 8
	pageHead  = 7
	wantBytes = 6
)

// AppendLacks begins the body of a Lacks.
func AppendLacks(b []byte, region int) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(region))
}

// AppendRun adds n pages, from first on.
func AppendRun(b []byte, first, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, first), n)
}

// MaxRuns is how many runs a Lacks has room for.
const MaxRuns = (MaxFrame - 1 - lacksHead) / runBytes

// Region is of which region its runs are; ok is false where the message is malformed.
func (m Lacks) Region() (region int, ok bool) {
	if len(m.Body) < lacksHead || (len(m.Body)-lacksHead)%runBytes != 0 {
		return 0, false
	}
	return int(binary.BigEndian.Uint16(m.Body)), true
}

// Runs yields the runs: first page and number.
func (m Lacks) Runs() iter.Seq2[uint32, uint32] {
	return func(yield func(first, n uint32) bool) {
		for b := m.Body[min(lacksHead, len(m.Body)):]; len(b) >= runBytes; b = b[runBytes:] {
			if !yield(binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])) {
				return
			}
		}
	}
}

// AppendPage adds a page to the body of Pages: u16 region, u32 page, u8 1 and its bytes, or u8 0 where all of them are zero and data is nil.
func AppendPage(b []byte, region int, page uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(region)), page)
	if data == nil {
		return append(b, 0)
	}
	return append(append(b, 1), data...)
}

// EachPage yields the pages in the body of Pages, data being nil for one that is all zero. It ends with an error of yield, or one of its own.
func EachPage(b []byte, yield func(region int, page uint32, data []byte) error) error {
	for len(b) > 0 {
		if len(b) < pageHead {
			return errPages
		}
		region, page, full := int(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:]), b[pageHead-1]
		b = b[pageHead:]
		var data []byte
		switch {
		case full > 1:
			return errors.New("page that is neither zero nor full")
		case full == 1 && len(b) < PageBytes:
			return errPages
		case full == 1:
			data, b = b[:PageBytes], b[PageBytes:]
		}
		if err := yield(region, page, data); err != nil {
			return err
		}
	}
	return nil
}

// AppendWant adds a page to the body of Wants.
func AppendWant(b []byte, region int, page uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(region)), page)
}

// Each yields the pages, region and number; those of a message that is cut off up to there.
func (m Wants) Each() iter.Seq2[int, uint32] {
	return func(yield func(region int, page uint32) bool) {
		for b := m.Body; len(b) >= wantBytes; b = b[wantBytes:] {
			if !yield(int(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])) {
				return
			}
		}
	}
}
