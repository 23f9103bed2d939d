package filter

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// recorded are pre-copy streams of real QEMUs; see qemu/stream/testdata/capture for how they were made.
var recorded = []string{"return-path-10.0", "return-path-7.2", "seabios-10.0", "seabios-7.2", "stopped-10.0", "switchover-10.0",
	"uuid-7.2", "virtio-mem-10.0", "bitmaps-10.0", "no-footers-7.2"}

const testSeed dedup.Seed = 0x5ca77e2

// filter is a filter for the recording into out, for a target that holds nothing but zero pages.
func filterOf(r *enginekit.Recording, out io.Writer) *Filter {
	return &Filter{Held: dedup.NewHeld(r.Layout), Seed: testSeed, First: r.First, Zero: slices.Repeat([]bool{true}, len(r.Blocks)),
		Header: r.Header, W: stream.NewWriter(out), Pong: func(uint32) error { return nil }}
}

// pass runs the recording through a filter and returns the stream that a target sees, with the header that it has had before.
func passed(t rapid.TB, r *enginekit.Recording, prepare func(f *Filter)) ([]byte, *Filter) {
	t.Helper()
	out := bytes.NewBuffer(bytes.Clone(r.Header))
	f := filterOf(r, out)
	prepare(f)
	p := stream.NewParser(bytes.NewReader(r.Wire), stream.Options{})
	if err := f.Run(p); err != nil {
		t.Fatal(err)
	}
	out.Write(r.Wire[p.Offset():])
	return out.Bytes(), f
}

func nothing(*Filter) {}

// same fails unless mem holds what the source's QEMU last sent.
func sameAs(r *enginekit.Recording, t rapid.TB, mem enginekit.Memory) {
	t.Helper()
	for k, want := range r.Source.Memory {
		if !bytes.Equal(mem[k], want) {
			t.Fatalf("ram block %s, page at %#x is not what the source sent last", r.Blocks[k.Block].Name, k.Offset)
		}
	}
}

// TestFilterPassesAllToABlankTarget: nothing is held and nothing known, so every record passes, in its order.
func TestFilterPassesAllToABlankTarget(t *testing.T) {
	for _, name := range recorded {
		t.Run(name, func(t *testing.T) {
			r := enginekit.OpenRecording(t, name)
			wire, f := passed(t, r, func(f *Filter) { clear(f.Zero) })
			got := enginekit.Play(t, wire, len(r.Header), enginekit.Memory{})
			want := changes(r.Source.Records)
			if !slices.EqualFunc(got.Records, want, sameRecord) {
				t.Errorf("%d records passed, want %d of %d in their order", len(got.Records), len(want), len(r.Source.Records))
			}
			sameAs(r, t, got.Memory)
			if !bytes.Equal(got.Rest, r.Source.Rest) {
				t.Error("what is not RAM was changed")
			}
			bytes := int64(0)
			for _, rec := range want {
				bytes += int64(len(rec.Data))
			}
			if f.Processed.Load() != int64(len(r.Source.Records)) || f.Resent.Load() != int64(len(want)) || f.Sent.Load() != bytes {
				t.Errorf("counted %d seen, %d passed, %d bytes; want %d, %d, %d", f.Processed.Load(), f.Resent.Load(), f.Sent.Load(),
					len(r.Source.Records), len(want), bytes)
			}
		})
	}
}

// changes are the records that a target without any knowledge needs: all but repetitions of bytes that it was sent before.
func changes(records []enginekit.PageRecord) (need []enginekit.PageRecord) {
	has := enginekit.Memory{}
	for _, r := range records {
		if r.Data == nil || !bytes.Equal(has[r.PageAt], r.Data) {
			need = append(need, r)
		}
		has[r.PageAt] = r.Data
	}
	return need
}

func sameRecord(a, b enginekit.PageRecord) bool {
	return a.PageAt == b.PageAt && bytes.Equal(a.Data, b.Data)
}

// TestFilterDropsZeroPagesOfZeroBlocks: pages that were never sent are zero on a target whose block was.
func TestFilterDropsZeroPagesOfZeroBlocks(t *testing.T) {
	r := enginekit.OpenRecording(t, "return-path-10.0")
	wire, _ := passed(t, r, nothing)
	got := enginekit.Play(t, wire, len(r.Header), enginekit.Memory{})
	twice := repeated(r)
	for _, rec := range got.Records {
		if rec.Data == nil && !twice[rec.PageAt] {
			t.Fatalf("a zero page at %#x of block %d passed", rec.Offset, rec.Block)
		}
	}
	sameAs(r, t, got.Memory)
	if len(got.Records) == 0 || len(got.Records) >= len(r.Source.Records)/2 {
		t.Errorf("%d of %d records passed", len(got.Records), len(r.Source.Records))
	}
}

// repeated are the pages that the recording sends more than once.
func repeated(r *enginekit.Recording) map[enginekit.PageAt]bool {
	seen := make(map[enginekit.PageAt]bool)
	for _, rec := range r.Source.Records {
		_, again := seen[rec.PageAt]
		seen[rec.PageAt] = again
	}
	maps.DeleteFunc(seen, func(_ enginekit.PageAt, again bool) bool { return !again })
	return seen
}

// TestFilterPassesNothingThatIsHeld: of a VM that does not change, only what is not RAM crosses after bulk, and the
// sections of which nothing passes leave no trace.
func TestFilterPassesNothingThatIsHeld(t *testing.T) {
	for _, name := range []string{"stopped-10.0", "virtio-mem-10.0", "bitmaps-10.0"} {
		r := enginekit.OpenRecording(t, name)
		if n := len(repeated(r)); n > 0 && name == "stopped-10.0" {
			t.Fatalf("%d pages of a stopped VM were sent twice", n)
		}
		wire, f := passed(t, r, func(f *Filter) {
			for k, data := range r.Source.Memory {
				if data != nil {
					f.Held.Set(r.Page(k), dedup.HashPage(testSeed, data))
				}
			}
		})
		if n := f.Resent.Load(); n > int64(2*len(repeated(r))) {
			t.Errorf("%s: %d pages passed", name, n)
		}
		if want := append(bytes.Clone(r.Header), r.Source.Rest...); f.Resent.Load() == 0 && !bytes.Equal(wire, want) {
			t.Errorf("%s: %d bytes passed, want %d", name, len(wire), len(want))
		}
	}
}

// TestFilterBlindPassesAll: where nothing is known of the target, what was noted as held does not count.
func TestFilterBlindPassesAll(t *testing.T) {
	r := enginekit.OpenRecording(t, "return-path-10.0")
	wire, f := passed(t, r, func(f *Filter) {
		f.Blind = true
		for k, data := range r.Source.Memory {
			if data != nil {
				f.Held.Set(r.Page(k), dedup.HashPage(testSeed, data))
			}
		}
	})
	if f.Resent.Load() != int64(len(r.Source.Records)) {
		t.Errorf("%d of %d records passed", f.Resent.Load(), len(r.Source.Records))
	}
	sameAs(r, t, enginekit.Play(t, wire, len(r.Header), enginekit.Memory{}).Memory)
}

// TestFilterSendsPageThatBecameZero: the bulk sent bytes, the source has zeros there now.
func TestFilterSendsPageThatBecameZero(t *testing.T) {
	r := enginekit.OpenRecording(t, "stopped-10.0")
	i := slices.IndexFunc(r.Source.Records, func(rec enginekit.PageRecord) bool { return rec.Data == nil })
	k := r.Source.Records[i].PageAt
	junk := bytes.Repeat([]byte{0xee}, model.PageSize)
	wire, _ := passed(t, r, func(f *Filter) { f.Held.Set(r.Page(k), dedup.HashPage(testSeed, junk)) })
	sameAs(r, t, enginekit.Play(t, wire, len(r.Header), enginekit.Memory{k: junk}).Memory)
}

// TestInvariant3TargetHoldsWhatTheSourceSentLast: whatever the target holds when the stream begins, and whatever of
// that is known, its memory after the filtered stream is the source's.
func TestInvariant3TargetHoldsWhatTheSourceSentLast(t *testing.T) {
	base := enginekit.OpenRecording(t, "stopped-10.0")
	rapid.Check(t, func(t *rapid.T) {
		r := withRecords(base, t, drawRecords(t))
		checkAgainst(r, t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 9).Draw(t, "blind") == 0)
	})
}

// TestInvariant3OnRecordings is the same with streams of real guests that changed their memory meanwhile.
func TestInvariant3OnRecordings(t *testing.T) {
	for _, name := range []string{"return-path-10.0", "seabios-7.2", "virtio-mem-10.0", "no-footers-7.2"} {
		r := enginekit.OpenRecording(t, name)
		for seed := range uint64(2) {
			checkAgainst(r, t, seed, false)
		}
	}
}

// checkAgainst passes the recording to a target that holds pages at random.
func checkAgainst(r *enginekit.Recording, t rapid.TB, seed uint64, blind bool) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 0))
	target := enginekit.Memory{}
	wire, _ := passed(t, r, func(f *Filter) {
		f.Blind = blind
		for i := range f.Zero {
			f.Zero[i] = rnd.IntN(2) == 0
		}
		for _, rec := range r.Source.Records {
			if _, done := target[rec.PageAt]; !done {
				target[rec.PageAt] = nil
				hold(r, rnd, f, target, rec.PageAt)
			}
		}
	})
	sameAs(r, t, enginekit.Play(t, wire, len(r.Header), target).Memory)
}

// drawRecords is a stream of pages over a small memory, so that many are sent again, with few distinct bytes, so that many are equal.
func drawRecords(t *rapid.T) []enginekit.PageRecord {
	record := rapid.Custom(func(t *rapid.T) enginekit.PageRecord {
		rec := enginekit.PageRecord{PageAt: enginekit.PageAt{Block: rapid.IntRange(0, 1).Draw(t, "block"), Offset: uint64(rapid.IntRange(0, 15).Draw(t, "page")) * model.PageSize}}
		if fill := rapid.IntRange(0, 3).Draw(t, "fill"); fill > 0 {
			rec.Data = bytes.Repeat([]byte{byte(fill)}, model.PageSize)
		}
		return rec
	})
	return rapid.SliceOfN(record, 1, 80).Draw(t, "records")
}

// with is the recording with other pages, in sections of random lengths. Its header and device state are the real ones.
func withRecords(r *enginekit.Recording, t *rapid.T, records []enginekit.PageRecord) *enginekit.Recording {
	out := *r
	p := stream.NewParser(bytes.NewReader(r.Wire), stream.Options{})
	if _, err := system.ReadHead(p); err != nil {
		t.Fatal(err)
	}
	wire := bytes.NewBuffer(bytes.Clone(r.Header))
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
		if rec.Data == nil {
			check(w.Zero(rec.Block, rec.Offset))
		} else {
			check(w.Page(rec.Block, rec.Offset, rec.Data))
		}
	}
	check(w.EndPart())
	check(w.Flush())
	out.Wire = append(wire.Bytes(), r.Source.Rest...)
	out.Source = enginekit.Play(t, out.Wire, len(r.Header), enginekit.Memory{})
	return &out
}

// hold gives the target some bytes for a page, and the filter what the bulk would have noted of it.
func hold(r *enginekit.Recording, rnd *rand.Rand, f *Filter, target enginekit.Memory, k enginekit.PageAt) {
	other := r.Source.Records[rnd.IntN(len(r.Source.Records))].Data
	switch now := r.Source.Memory[k]; rnd.IntN(4) {
	case 0: // the bulk sent these bytes
		if now != nil {
			target[k] = now
			f.Held.Set(r.Page(k), dedup.HashPage(testSeed, now))
		}
	case 1: // the bulk sent other bytes
		if other != nil {
			target[k] = other
			f.Held.Set(r.Page(k), dedup.HashPage(testSeed, other))
		}
	case 2: // the bulk sent nothing, and the block is not known to be zero
		if !f.Zero[k.Block] {
			target[k] = other
		}
	}
	if f.Blind {
		target[k] = other // whatever was noted
	}
}

// TestFilterAnswersPing: QEMU's first PING is in the header, which is not passed on.
func TestFilterAnswersPing(t *testing.T) {
	r := enginekit.OpenRecording(t, "return-path-10.0")
	var got []uint32
	passed(t, r, func(f *Filter) {
		f.Pong = func(n uint32) error { got = append(got, n); return nil }
	})
	if !slices.Equal(got, []uint32{1}) {
		t.Errorf("answered %v, want the PING 1 of the header", got)
	}
	broken := errors.New("broken")
	f := filterOf(r, io.Discard)
	f.Pong = func(uint32) error { return broken }
	if err := f.Run(stream.NewParser(bytes.NewReader(r.Wire), stream.Options{})); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestFilterRefusesAnotherHeader: the target's QEMU has taken the head that preflight saw, so the stream must begin with it.
func TestFilterRefusesAnotherHeader(t *testing.T) {
	r := enginekit.OpenRecording(t, "return-path-10.0")
	longer := append(bytes.Clone(r.Header), 1, 2, 3)
	for name, header := range map[string][]byte{
		"other machine": bytes.Replace(r.Header, []byte("pc-i440fx-7.2"), []byte("pc-i440fx-9.9"), 1),
		"other length":  bytes.Replace(r.Header, []byte{0, 2, 0, 0}, []byte{0, 4, 0, 0}, 1),
		"cut":           r.Header[:len(r.Header)-3],
		"longer":        longer,
		"of another VM": enginekit.OpenRecording(t, "virtio-mem-10.0").Header,
	} {
		var out bytes.Buffer
		f := filterOf(r, &out)
		f.Header = header
		err := f.Run(stream.NewParser(bytes.NewReader(r.Wire), stream.Options{}))
		bad, ok := errors.AsType[*HeaderError](err)
		if !ok || bad.At >= len(header) || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes passed", name, err, out.Len())
		}
	}
}

// TestFilterOfACutStream: an end before the device state is never taken for one.
func TestFilterOfACutStream(t *testing.T) {
	r := enginekit.OpenRecording(t, "stopped-10.0")
	rnd := rand.New(rand.NewPCG(1, 2))
	tail := len(r.Wire) - len(r.Source.Rest)
	for range 40 {
		n := rnd.IntN(tail)
		err := filterOf(r, io.Discard).Run(stream.NewParser(bytes.NewReader(r.Wire[:n]), stream.Options{}))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestReadHeaderRefuses(t *testing.T) {
	r := enginekit.OpenRecording(t, "stopped-10.0")
	for n := range r.Header {
		if h, err := system.ReadHead(stream.NewParser(bytes.NewReader(r.Wire[:n]), stream.Options{})); err == nil {
			t.Fatalf("%d bytes of a stream gave a header of %d", n, len(h))
		}
	}
}
