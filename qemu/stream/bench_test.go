package stream

import (
	"bytes"
	"io"
	"testing"
)

// pageStream is a stream of n pages, the last zeros of which are zero, up to the end of ram.
func pageStream(tb testing.TB, n, zeros int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	blocks := []RAMBlock{{"pc.ram", uint64(n) * PageSize, PageSize}}
	head := unhex(tb, hexHeader+hexStart)
	head = appendBlockList(head, blocks)
	head = append(head, unhex(tb, hexEOS+hexFooter)...)
	if err := w.Raw(head); err != nil {
		tb.Fatal(err)
	}
	w.SetRAM(2, true, blocks)
	data := make([]byte, PageSize)
	err := w.BeginPart()
	for i := 0; i < n && err == nil; i++ {
		data[i%PageSize]++
		if off := uint64(i) * PageSize; i < n-zeros {
			err = w.Page(0, off, data)
		} else {
			err = w.Zero(0, off)
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.EndPart(); err != nil {
		tb.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return append(b.Bytes(), unhex(tb, hexEnd+hexEOS+hexFooter)...)
}

func benchmarkStream(b *testing.B, wire []byte, each func(p *Parser, it *Item) error) {
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	r := bytes.NewReader(wire)
	for b.Loop() {
		r.Reset(wire)
		p := NewParser(r, Options{})
		it, err := p.Next()
		for ; err == nil; it, err = p.Next() {
			if err = each(p, it); err != nil {
				b.Fatal(err)
			}
		}
		if err != io.ErrUnexpectedEOF || p.Offset() != uint64(len(wire)) {
			b.Fatal(err)
		}
	}
}

func BenchmarkParserPages(b *testing.B) {
	benchmarkStream(b, pageStream(b, 16384, 0), func(*Parser, *Item) error { return nil })
}

// BenchmarkParserZeros shows the cost per record: its stream holds hardly anything else.
func BenchmarkParserZeros(b *testing.B) {
	benchmarkStream(b, pageStream(b, 1<<20, 1<<20), func(*Parser, *Item) error { return nil })
}

// BenchmarkFilter parses and writes every page again.
func BenchmarkFilter(b *testing.B) {
	w := NewWriter(io.Discard)
	benchmarkStream(b, pageStream(b, 16384, 0), func(p *Parser, it *Item) error { return w.Item(p, it) })
}

func BenchmarkTail(b *testing.B) {
	tail := fakeTail(bytes.Repeat([]byte{0, 6, 0, 1, 2, 3, 4, '{'}, 4<<20))
	b.SetBytes(int64(len(tail)))
	b.ReportAllocs()
	for b.Loop() {
		p := atTail(b, bytes.NewReader(tail), Options{})
		if got, err := p.Tail(io.Discard); err != nil || !got.Verified {
			b.Fatal(got, err)
		}
	}
}
