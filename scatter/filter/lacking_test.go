package filter

import (
	"bytes"
	"testing"

	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
)

// lackingOf has a filter know what its target lacks: all that was not sent.
func lackingOf(r *enginekit.Recording, f *Filter) {
	var sizes []uint32
	for _, b := range r.Blocks {
		sizes = append(sizes, uint32(b.Length/model.PageSize))
		f.all += int64(b.Length / model.PageSize)
	}
	f.Absent, f.Warm = pageset.New(sizes...), pageset.New(sizes...)
	for i, n := range sizes {
		f.Absent.AddRun(i, 0, n)
	}
}

// TestWhatWasLeftOutIsMadeUpFor: QEMU ends its pre-copy by itself though pages were left to post-copy: the target has all of them all the same.
func TestWhatWasLeftOutIsMadeUpFor(t *testing.T) {
	for _, name := range recorded {
		t.Run(name, func(t *testing.T) {
			r := enginekit.OpenRecording(t, name)
			asked := 0
			wire, f := passed(t, r, func(f *Filter) {
				lackingOf(r, f)
				f.Later = f.Absent.Empty()
				f.Passed = func() error { asked++; return nil }
				f.Read = func(p pageset.Page, to []byte) error {
					clear(to)
					copy(to, r.Source.Memory[enginekit.PageAt{Block: p.Region, Offset: uint64(p.Page) * model.PageSize}])
					return nil
				}
			})
			got := enginekit.Play(t, wire, len(r.Header), enginekit.Memory{})
			for k, want := range r.Source.Memory {
				if have := got.Memory[k]; !bytes.Equal(have, want) && !(want == nil && bytes.Equal(have, make([]byte, model.PageSize))) {
					t.Fatalf("ram block %s, page at %#x is not what the source sent last", r.Blocks[k.Block].Name, k.Offset)
				}
			}
			if asked > 1 || f.Later.Len() == 0 {
				t.Errorf("asked %d times, %d pages left out", asked, f.Later.Len())
			}
		})
	}
}

// TestWhatIsPassedOnIsNotLacked, and nothing else: what is left out is zero.
func TestWhatIsPassedOnIsNotLacked(t *testing.T) {
	r := enginekit.OpenRecording(t, "return-path-10.0")
	wire, f := passed(t, r, func(f *Filter) { lackingOf(r, f) })
	got := enginekit.Play(t, wire, len(r.Header), enginekit.Memory{})
	there := make(map[enginekit.PageAt]bool)
	for _, rec := range got.Records {
		there[rec.PageAt] = true
	}
	for i, b := range r.Blocks {
		for at := uint64(0); at < b.Length; at += model.PageSize {
			k := enginekit.PageAt{Block: i, Offset: at}
			if lacked := f.Absent.Has(pageset.Page{Region: i, Page: uint32(at / model.PageSize)}); lacked == there[k] {
				t.Fatalf("page at %#x of block %s: lacked %v, passed on %v", at, b.Name, lacked, there[k])
			}
		}
	}
}
