package enginekit

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// PageAt names a page of a recording.
type PageAt struct {
	Block  int
	Offset uint64
}

// Memory is the pages of guest RAM that somebody has; a nil page is all zero.
type Memory map[PageAt][]byte

// PageRecord is a page on its way; data is nil for a page of zeros.
type PageRecord struct {
	PageAt
	Data []byte
}

// played is what a stream says: the memory it leaves behind, and everything else in it.
type played struct {
	Memory  Memory
	Records []PageRecord
	Rest    []byte // all that is not RAM: other sections, what encloses the last pages, the tail
}

// Play applies a stream to mem, after the header.
func Play(t rapid.TB, wire []byte, skip int, mem Memory) played {
	t.Helper()
	p := stream.NewParser(bytes.NewReader(wire), stream.Options{})
	out := played{Memory: mem}
	for at, last := 0, false; ; {
		it, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		switch it.Kind {
		case stream.KindTail:
			out.Rest = append(out.Rest, wire[p.Offset():]...)
			return out
		case stream.KindPage, stream.KindZero:
			r := PageRecord{PageAt{it.Block, it.Offset}, bytes.Clone(it.Data)}
			out.Memory[r.PageAt] = r.Data
			out.Records = append(out.Records, r)
		default:
			last = last || it.Kind == stream.KindSectionEnd && it.Section.Name == "ram"
			if at >= skip && (last || it.Section.Name != "ram") {
				out.Rest = append(out.Rest, it.Raw...)
			}
			at += len(it.Raw)
		}
	}
}

// Recording is a stream with what must come of it.
type Recording struct {
	Wire, Header []byte
	Blocks       []stream.RAMBlock
	Source       played
	First        []dedup.Page
	Layout       *dedup.Layout
}

// OpenRecording reads a recorded stream of a real QEMU.
func OpenRecording(t testing.TB, name string) *Recording {
	t.Helper()
	f, err := os.Open(filepath.Join("../../qemu/stream/testdata", name+".qevm.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recording{}
	if r.Wire, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	p := stream.NewParser(bytes.NewReader(r.Wire), stream.Options{})
	if r.Header, err = system.ReadHead(p); err != nil {
		t.Fatal(err)
	}
	r.Blocks = p.Blocks()
	var regions []dedup.Region
	for i, b := range r.Blocks {
		regions = append(regions, dedup.Region{Block: i, Pages: uint32(b.Length / model.PageSize)})
	}
	if r.Layout, err = dedup.NewLayout(regions); err != nil {
		t.Fatal(err)
	}
	for i := range r.Blocks {
		r.First = append(r.First, r.Layout.First(i))
	}
	r.Source = Play(t, r.Wire, len(r.Header), Memory{})
	return r
}

// Page is the number of a page in package dedup.
func (r *Recording) Page(k PageAt) dedup.Page {
	return r.First[k.Block] + dedup.Page(k.Offset/model.PageSize)
}
