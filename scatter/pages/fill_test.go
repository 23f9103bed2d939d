package pages

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/system"
)

// lackingRAM is RAM of two blocks whose QEMU takes what is written; what that was comes when it is closed.
func lackingRAM(t *testing.T) (r *RAM, written func() []byte) {
	r = NewRAM([]system.RAMBlock{{Name: "mem", Length: 64 << 12}, {Name: "rom", Length: 4 << 12}}, nil, false)
	near, far := net.Pipe()
	var b bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&b, far)
	}()
	w := stream.NewWriter(near)
	w.SetRAM(7, true, r.Listed())
	r.Connect(near, w)
	return r, func() []byte {
		near.Close()
		<-read
		return b.Bytes()
	}
}

// page is the body of pages with one of a region.
func page(region int, n uint32, fill byte) []byte {
	if fill == 0 {
		return control.AppendPage(nil, region, n, nil)
	}
	return control.AppendPage(nil, region, n, bytes.Repeat([]byte{fill}, 4096))
}

// TestEachPageIsGivenOnce: QEMU drops what is lacked, gets each of these pages once, whoever brings it and how often, none that it has, and the end of its
// stream behind the last.
func TestEachPageIsGivenOnce(t *testing.T) {
	r, written := lackingRAM(t)
	if err := errors.Join(r.Lack(0, 3, 2), r.Lack(1, 0, 1), r.Drop(99, true)); err != nil {
		t.Fatal(err)
	}
	if r.Lack(0, 60, 5) == nil || r.Lack(2, 0, 1) == nil {
		t.Error("pages outside of the guest are lacked")
	}
	if got := r.Want("mem", 3<<12, 4096); !bytes.Equal(got, control.AppendWant(nil, 0, 3)) {
		t.Errorf("wants %x", got)
	}
	for _, c := range []struct {
		body []byte
		left int
	}{{page(0, 3, 5), 2}, {page(0, 3, 6), 2}, {page(0, 9, 5), 2}, {page(1, 0, 0), 1}} {
		if left, err := r.Fill(c.body); err != nil || left != c.left {
			t.Errorf("%d left, %v, want %d", left, err, c.left)
		}
	}
	if got := r.Want("mem", 3<<12, 4096); len(got) != 0 {
		t.Errorf("a page that was given is asked for: %x", got)
	}
	if got := r.Want("mem", 20<<12, 4096); !bytes.Equal(got, control.AppendWant(nil, 0, 20)) {
		t.Errorf("a page that nobody knew to be lacked is not asked for: %x", got)
	}
	lacks, asked := r.Lacking()
	if len(lacks) != 1 || !bytes.Equal(asked.Body, control.AppendWant(nil, 0, 20)) {
		t.Errorf("lacks %x, asks for %x", lacks, asked)
	}
	b := block.Block{Contents: []block.Content{{Owners: []block.Owner{{Block: 0, Page: 4}, {Block: 0, Page: 5}}, Data: bytes.Repeat([]byte{8}, 4096)}}}
	if err := r.Place(&Pages{Owners: b.Contents[0].Owners, From: []uint32{0, 0}}, b); err != nil {
		t.Fatal(err)
	}
	if left, err := r.Fill(page(0, 20, 1)); err != nil || left != 0 {
		t.Errorf("%d left, %v", left, err)
	}
	got := written()
	var want bytes.Buffer
	w := stream.NewWriter(&want)
	w.SetRAM(7, true, r.Listed())
	discard := func(name string, start, n uint64) error {
		return w.Command(stream.CmdPostcopyRAMDiscard, stream.Discard{Block: name, Ranges: []stream.Range{{Start: start << 12, Length: n << 12}}}.Append(nil))
	}
	part := func(region int, n uint64, fill byte) error {
		data := bytes.Repeat([]byte{fill}, 4096)
		give := func() error { return w.Page(region, n<<12, data) }
		if fill == 0 {
			give = func() error { return w.Zero(region, n<<12) }
		}
		return errors.Join(w.BeginPart(), give(), w.EndPart())
	}
	if err := errors.Join(discard("mem", 3, 2), discard("rom", 0, 1), w.Command(stream.CmdPing, []byte{0, 0, 0, 99}),
		part(0, 3, 5), part(1, 0, 0), part(0, 4, 8), part(0, 20, 1), w.Finish(), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("QEMU got %d bytes, want %d", len(got), want.Len())
	}
	told := r.Waits()
	if n, _, _ := told.Told(); n != 2 {
		t.Errorf("%d waits", n)
	}
}

// TestPagesOutOfTurn: bulk that was made before a VM has taken over is old, and pages for one that has not are refused.
func TestPagesOutOfTurn(t *testing.T) {
	r, written := lackingRAM(t)
	defer written()
	if _, err := r.Fill(page(0, 3, 5)); err == nil {
		t.Error("pages are taken that are not lacked")
	}
	if err := errors.Join(r.Lack(0, 0, 64), r.Drop(1, false)); err != nil {
		t.Fatal(err)
	}
	b := block.Block{Contents: []block.Content{{Owners: []block.Owner{{Page: 4}}, Data: make([]byte, 4096)}}}
	if err := r.Place(&Pages{Owners: b.Contents[0].Owners, From: []uint32{0}}, b); err != nil {
		t.Fatal(err)
	}
	if left, err := r.Fill(page(0, 3, 5)); err != nil || left != 63 {
		t.Errorf("%d left, %v: bulk has brought a page", left, err)
	}
	if _, err := r.Fill([]byte{1, 2, 3}); err == nil {
		t.Error("pages that are cut off are taken")
	}
	if _, err := r.Rescue(); err == nil {
		t.Error("memory out of reach is rescued")
	}
}

// TestLacksOfManyRuns come in messages that are not too long, and name the same pages.
func TestLacksOfManyRuns(t *testing.T) {
	r := NewRAM([]system.RAMBlock{{Name: "mem", Length: (2*control.MaxRuns + 3) << 12}}, nil, false)
	for i := uint32(0); i < 2*control.MaxRuns+3; i += 2 {
		if err := r.Lack(0, i, 1); err != nil {
			t.Fatal(err)
		}
	}
	lacks := LacksOf(r.lacks, 0)
	if len(lacks) != 2 || len(lacks[0].Body) >= control.MaxFrame || !slices.Equal(lacks[1].Body[:2], []byte{0, 0}) {
		t.Fatalf("%d messages", len(lacks))
	}
	n := 0
	for _, m := range lacks {
		for range m.Runs() {
			n++
		}
	}
	if n != r.lacks.Len() {
		t.Errorf("%d runs, want %d", n, r.lacks.Len())
	}
}
