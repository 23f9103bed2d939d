package scatter

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// recorded are pre-copy streams of real QEMUs; see qemu/stream/testdata/capture for how they were made.
var recorded = []string{"return-path-10.0", "return-path-7.2", "seabios-10.0", "seabios-7.2", "stopped-10.0", "switchover-10.0",
	"uuid-7.2", "virtio-mem-10.0", "bitmaps-10.0", "no-footers-7.2"}

// pageAt names a page of a recording.
type pageAt struct {
	block  int
	offset uint64
}

// memory is the pages of guest RAM that somebody has; a nil page is all zero.
type memory map[pageAt][]byte

// pageRecord is a page on its way; data is nil for a page of zeros.
type pageRecord struct {
	pageAt
	data []byte
}

// played is what a stream says: the memory it leaves behind, and everything else in it.
type played struct {
	memory  memory
	records []pageRecord
	rest    []byte // all that is not RAM: other sections, what encloses the last pages, the tail
}

// play applies a stream to mem, after the header.
func play(t rapid.TB, wire []byte, skip int, mem memory) played {
	t.Helper()
	p := stream.NewParser(bytes.NewReader(wire), stream.Options{})
	out := played{memory: mem}
	for at, last := 0, false; ; {
		it, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		switch it.Kind {
		case stream.KindTail:
			out.rest = append(out.rest, wire[p.Offset():]...)
			return out
		case stream.KindPage, stream.KindZero:
			r := pageRecord{pageAt{it.Block, it.Offset}, bytes.Clone(it.Data)}
			out.memory[r.pageAt] = r.data
			out.records = append(out.records, r)
		default:
			last = last || it.Kind == stream.KindSectionEnd && it.Section.Name == "ram"
			if at >= skip && (last || it.Section.Name != "ram") {
				out.rest = append(out.rest, it.Raw...)
			}
			at += len(it.Raw)
		}
	}
}

// recording is a stream with what must come of it.
type recording struct {
	wire, header []byte
	blocks       []stream.RAMBlock
	source       played
	first        []dedup.Page
	layout       *dedup.Layout
}

func openRecording(t testing.TB, name string) *recording {
	t.Helper()
	f, err := os.Open(filepath.Join("../qemu/stream/testdata", name+".qevm.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{}
	if r.wire, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	p := stream.NewParser(bytes.NewReader(r.wire), stream.Options{})
	if r.header, err = system.ReadHead(p); err != nil {
		t.Fatal(err)
	}
	r.blocks = p.Blocks()
	var regions []dedup.Region
	for i, b := range r.blocks {
		regions = append(regions, dedup.Region{Block: i, Pages: uint32(b.Length / model.PageSize)})
	}
	if r.layout, err = dedup.NewLayout(regions); err != nil {
		t.Fatal(err)
	}
	for i := range r.blocks {
		r.first = append(r.first, r.layout.First(i))
	}
	r.source = play(t, r.wire, len(r.header), memory{})
	return r
}

func (r *recording) page(k pageAt) dedup.Page {
	return r.first[k.block] + dedup.Page(k.offset/model.PageSize)
}

const testSeed dedup.Seed = 0x5ca77e2

// filter is a filter for the recording into out, for a target that holds nothing but zero pages.
func (r *recording) filter(out io.Writer) *filter {
	return &filter{held: dedup.NewHeld(r.layout), seed: testSeed, first: r.first, zero: slices.Repeat([]bool{true}, len(r.blocks)),
		header: r.header, w: stream.NewWriter(out), pong: func(uint32) error { return nil }}
}

// pass runs the recording through a filter and returns the stream that a target sees, with the header that it has had before.
func (r *recording) pass(t rapid.TB, prepare func(f *filter)) ([]byte, *filter) {
	t.Helper()
	out := bytes.NewBuffer(bytes.Clone(r.header))
	f := r.filter(out)
	prepare(f)
	p := stream.NewParser(bytes.NewReader(r.wire), stream.Options{})
	if err := f.run(p); err != nil {
		t.Fatal(err)
	}
	out.Write(r.wire[p.Offset():])
	return out.Bytes(), f
}

func nothing(*filter) {}

// same fails unless mem holds what the source's QEMU last sent.
func (r *recording) same(t rapid.TB, mem memory) {
	t.Helper()
	for k, want := range r.source.memory {
		if !bytes.Equal(mem[k], want) {
			t.Fatalf("ram block %s, page at %#x is not what the source sent last", r.blocks[k.block].Name, k.offset)
		}
	}
}

// TestFilterPassesAllToABlankTarget: nothing is held and nothing known, so every record passes, in its order.
func TestFilterPassesAllToABlankTarget(t *testing.T) {
	for _, name := range recorded {
		t.Run(name, func(t *testing.T) {
			r := openRecording(t, name)
			wire, f := r.pass(t, func(f *filter) { clear(f.zero) })
			got := play(t, wire, len(r.header), memory{})
			want := changes(r.source.records)
			if !slices.EqualFunc(got.records, want, sameRecord) {
				t.Errorf("%d records passed, want %d of %d in their order", len(got.records), len(want), len(r.source.records))
			}
			r.same(t, got.memory)
			if !bytes.Equal(got.rest, r.source.rest) {
				t.Error("what is not RAM was changed")
			}
			bytes := int64(0)
			for _, rec := range want {
				bytes += int64(len(rec.data))
			}
			if f.processed.Load() != int64(len(r.source.records)) || f.resent.Load() != int64(len(want)) || f.sent.Load() != bytes {
				t.Errorf("counted %d seen, %d passed, %d bytes; want %d, %d, %d", f.processed.Load(), f.resent.Load(), f.sent.Load(),
					len(r.source.records), len(want), bytes)
			}
		})
	}
}

// changes are the records that a target without any knowledge needs: all but repetitions of bytes that it was sent before.
func changes(records []pageRecord) (need []pageRecord) {
	has := memory{}
	for _, r := range records {
		if r.data == nil || !bytes.Equal(has[r.pageAt], r.data) {
			need = append(need, r)
		}
		has[r.pageAt] = r.data
	}
	return need
}

func sameRecord(a, b pageRecord) bool { return a.pageAt == b.pageAt && bytes.Equal(a.data, b.data) }

// TestFilterDropsZeroPagesOfZeroBlocks: pages that were never sent are zero on a target whose block was.
func TestFilterDropsZeroPagesOfZeroBlocks(t *testing.T) {
	r := openRecording(t, "return-path-10.0")
	wire, _ := r.pass(t, nothing)
	got := play(t, wire, len(r.header), memory{})
	twice := r.repeated()
	for _, rec := range got.records {
		if rec.data == nil && !twice[rec.pageAt] {
			t.Fatalf("a zero page at %#x of block %d passed", rec.offset, rec.block)
		}
	}
	r.same(t, got.memory)
	if len(got.records) == 0 || len(got.records) >= len(r.source.records)/2 {
		t.Errorf("%d of %d records passed", len(got.records), len(r.source.records))
	}
}

// repeated are the pages that the recording sends more than once.
func (r *recording) repeated() map[pageAt]bool {
	seen := make(map[pageAt]bool)
	for _, rec := range r.source.records {
		_, again := seen[rec.pageAt]
		seen[rec.pageAt] = again
	}
	maps.DeleteFunc(seen, func(_ pageAt, again bool) bool { return !again })
	return seen
}

// TestFilterPassesNothingThatIsHeld: of a VM that does not change, only what is not RAM crosses after bulk, and the
// sections of which nothing passes leave no trace.
func TestFilterPassesNothingThatIsHeld(t *testing.T) {
	for _, name := range []string{"stopped-10.0", "virtio-mem-10.0", "bitmaps-10.0"} {
		r := openRecording(t, name)
		if n := len(r.repeated()); n > 0 && name == "stopped-10.0" {
			t.Fatalf("%d pages of a stopped VM were sent twice", n)
		}
		wire, f := r.pass(t, func(f *filter) {
			for k, data := range r.source.memory {
				if data != nil {
					f.held.Set(r.page(k), dedup.HashPage(testSeed, data))
				}
			}
		})
		if n := f.resent.Load(); n > int64(2*len(r.repeated())) {
			t.Errorf("%s: %d pages passed", name, n)
		}
		if want := append(bytes.Clone(r.header), r.source.rest...); f.resent.Load() == 0 && !bytes.Equal(wire, want) {
			t.Errorf("%s: %d bytes passed, want %d", name, len(wire), len(want))
		}
	}
}

// TestFilterBlindPassesAll: where nothing is known of the target, what was noted as held does not count.
func TestFilterBlindPassesAll(t *testing.T) {
	r := openRecording(t, "return-path-10.0")
	wire, f := r.pass(t, func(f *filter) {
		f.blind = true
		for k, data := range r.source.memory {
			if data != nil {
				f.held.Set(r.page(k), dedup.HashPage(testSeed, data))
			}
		}
	})
	if f.resent.Load() != int64(len(r.source.records)) {
		t.Errorf("%d of %d records passed", f.resent.Load(), len(r.source.records))
	}
	r.same(t, play(t, wire, len(r.header), memory{}).memory)
}

// TestFilterSendsPageThatBecameZero: the bulk sent bytes, the source has zeros there now.
func TestFilterSendsPageThatBecameZero(t *testing.T) {
	r := openRecording(t, "stopped-10.0")
	i := slices.IndexFunc(r.source.records, func(rec pageRecord) bool { return rec.data == nil })
	k := r.source.records[i].pageAt
	junk := bytes.Repeat([]byte{0xee}, model.PageSize)
	wire, _ := r.pass(t, func(f *filter) { f.held.Set(r.page(k), dedup.HashPage(testSeed, junk)) })
	r.same(t, play(t, wire, len(r.header), memory{k: junk}).memory)
}

// TestInvariant3TargetHoldsWhatTheSourceSentLast: whatever the target holds when the stream begins, and whatever of
// that is known, its memory after the filtered stream is the source's.
func TestInvariant3TargetHoldsWhatTheSourceSentLast(t *testing.T) {
	base := openRecording(t, "stopped-10.0")
	rapid.Check(t, func(t *rapid.T) {
		r := base.with(t, drawRecords(t))
		r.checkAgainst(t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 9).Draw(t, "blind") == 0)
	})
}

// TestInvariant3OnRecordings is the same with streams of real guests that changed their memory meanwhile.
func TestInvariant3OnRecordings(t *testing.T) {
	for _, name := range []string{"return-path-10.0", "seabios-7.2", "virtio-mem-10.0", "no-footers-7.2"} {
		r := openRecording(t, name)
		for seed := range uint64(2) {
			r.checkAgainst(t, seed, false)
		}
	}
}

// checkAgainst passes the recording to a target that holds pages at random.
func (r *recording) checkAgainst(t rapid.TB, seed uint64, blind bool) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 0))
	target := memory{}
	wire, _ := r.pass(t, func(f *filter) {
		f.blind = blind
		for i := range f.zero {
			f.zero[i] = rnd.IntN(2) == 0
		}
		for _, rec := range r.source.records {
			if _, done := target[rec.pageAt]; !done {
				target[rec.pageAt] = nil
				r.hold(rnd, f, target, rec.pageAt)
			}
		}
	})
	r.same(t, play(t, wire, len(r.header), target).memory)
}

// drawRecords is a stream of pages over a small memory, so that many are sent again, with few distinct bytes, so that many are equal.
func drawRecords(t *rapid.T) []pageRecord {
	record := rapid.Custom(func(t *rapid.T) pageRecord {
		rec := pageRecord{pageAt: pageAt{rapid.IntRange(0, 1).Draw(t, "block"), uint64(rapid.IntRange(0, 15).Draw(t, "page")) * model.PageSize}}
		if fill := rapid.IntRange(0, 3).Draw(t, "fill"); fill > 0 {
			rec.data = bytes.Repeat([]byte{byte(fill)}, model.PageSize)
		}
		return rec
	})
	return rapid.SliceOfN(record, 1, 80).Draw(t, "records")
}

// with is the recording with other pages, in sections of random lengths. Its header and device state are the real ones.
func (r *recording) with(t *rapid.T, records []pageRecord) *recording {
	out := *r
	p := stream.NewParser(bytes.NewReader(r.wire), stream.Options{})
	if _, err := system.ReadHead(p); err != nil {
		t.Fatal(err)
	}
	wire := bytes.NewBuffer(bytes.Clone(r.header))
	w := stream.NewWriter(wire)
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(w.Follow(p))
	check(w.BeginPart())
	for _, rec := range records {
		if rapid.IntRange(0, 9).Draw(t, "new section") == 0 {
			check(w.EndPart())
			check(w.BeginPart())
		}
		if rec.data == nil {
			check(w.Zero(rec.block, rec.offset))
		} else {
			check(w.Page(rec.block, rec.offset, rec.data))
		}
	}
	check(w.EndPart())
	check(w.Flush())
	out.wire = append(wire.Bytes(), r.source.rest...)
	out.source = play(t, out.wire, len(r.header), memory{})
	return &out
}

// hold gives the target some bytes for a page, and the filter what the bulk would have noted of it.
func (r *recording) hold(rnd *rand.Rand, f *filter, target memory, k pageAt) {
	other := r.source.records[rnd.IntN(len(r.source.records))].data
	switch now := r.source.memory[k]; rnd.IntN(4) {
	case 0: // the bulk sent these bytes
		if now != nil {
			target[k] = now
			f.held.Set(r.page(k), dedup.HashPage(testSeed, now))
		}
	case 1: // the bulk sent other bytes
		if other != nil {
			target[k] = other
			f.held.Set(r.page(k), dedup.HashPage(testSeed, other))
		}
	case 2: // the bulk sent nothing, and the block is not known to be zero
		if !f.zero[k.block] {
			target[k] = other
		}
	}
	if f.blind {
		target[k] = other // whatever was noted
	}
}

// TestFilterAnswersPing: QEMU's first PING is in the header, which is not passed on.
func TestFilterAnswersPing(t *testing.T) {
	r := openRecording(t, "return-path-10.0")
	var got []uint32
	r.pass(t, func(f *filter) {
		f.pong = func(n uint32) error { got = append(got, n); return nil }
	})
	if !slices.Equal(got, []uint32{1}) {
		t.Errorf("answered %v, want the PING 1 of the header", got)
	}
	broken := errors.New("broken")
	f := r.filter(io.Discard)
	f.pong = func(uint32) error { return broken }
	if err := f.run(stream.NewParser(bytes.NewReader(r.wire), stream.Options{})); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestFilterRefusesAnotherHeader: the target's QEMU has taken the head that preflight saw, so the stream must begin with it.
func TestFilterRefusesAnotherHeader(t *testing.T) {
	r := openRecording(t, "return-path-10.0")
	longer := append(bytes.Clone(r.header), 1, 2, 3)
	for name, header := range map[string][]byte{
		"other machine": bytes.Replace(r.header, []byte("pc-i440fx-7.2"), []byte("pc-i440fx-9.9"), 1),
		"other length":  bytes.Replace(r.header, []byte{0, 2, 0, 0}, []byte{0, 4, 0, 0}, 1),
		"cut":           r.header[:len(r.header)-3],
		"longer":        longer,
		"of another VM": openRecording(t, "virtio-mem-10.0").header,
	} {
		var out bytes.Buffer
		f := r.filter(&out)
		f.header = header
		err := f.run(stream.NewParser(bytes.NewReader(r.wire), stream.Options{}))
		bad, ok := errors.AsType[*HeaderError](err)
		if !ok || bad.At >= len(header) || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes passed", name, err, out.Len())
		}
	}
}

// TestFilterOfACutStream: an end before the device state is never taken for one.
func TestFilterOfACutStream(t *testing.T) {
	r := openRecording(t, "stopped-10.0")
	rnd := rand.New(rand.NewPCG(1, 2))
	tail := len(r.wire) - len(r.source.rest)
	for range 40 {
		n := rnd.IntN(tail)
		err := r.filter(io.Discard).run(stream.NewParser(bytes.NewReader(r.wire[:n]), stream.Options{}))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestReadHeaderRefuses(t *testing.T) {
	r := openRecording(t, "stopped-10.0")
	for n := range r.header {
		if h, err := system.ReadHead(stream.NewParser(bytes.NewReader(r.wire[:n]), stream.Options{})); err == nil {
			t.Fatalf("%d bytes of a stream gave a header of %d", n, len(h))
		}
	}
}
