package dedup

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestHashIsKeyedAndNeverReserved(t *testing.T) {
	b := pageOf(3)
	if HashPage(1, b) == HashPage(2, b) {
		t.Error("seed does not matter")
	}
	if Digest(1, zeroPage[:]) != 0 || Digest(1, b) != HashPage(1, b) || HashPage(1, zeroPage[:]) < reserved {
		t.Error("zero page")
	}
	b[PageSize-1]++
	if HashPage(1, b) == HashPage(1, pageOf(3)) {
		t.Error("last byte does not matter")
	}
	if n := testing.AllocsPerRun(100, func() { HashPage(7, b) }); n > 0 {
		t.Errorf("%v allocations per hash", n)
	}
}

func TestLayoutNumbersPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32Range(0, 60000)), 0, 30).Draw(t, "sizes")
		var regions []Region
		for i, n := range sizes {
			regions = append(regions, Region{VM: i % 3, Pages: n})
		}
		l, err := NewLayout(regions)
		if err != nil {
			t.Fatal(err)
		}
		var p uint64
		for r, n := range sizes {
			for _, i := range []uint32{0, n / 2, n - 1} {
				if n == 0 {
					continue
				}
				page := Page(p + uint64(i))
				if gr, gi := l.Locate(page); gr != r || gi != i || l.VM(page) != r%3 || l.First(r) != Page(p) {
					t.Fatalf("page %d: got region %d page %d, want %d %d", page, gr, gi, r, i)
				}
			}
			p += uint64(n)
		}
		if l.Pages() != p {
			t.Fatalf("%d pages, want %d", l.Pages(), p)
		}
	})
}

func TestLayoutLimits(t *testing.T) {
	full := []Region{{Pages: 1 << 31}, {Pages: 1 << 31}}
	l, err := NewLayout(full)
	if err != nil || l.Pages() != MaxPages {
		t.Fatalf("2^32 pages: %v", err)
	}
	if r, i := l.Locate(1<<32 - 1); r != 1 || i != 1<<31-1 {
		t.Errorf("last page is %d of region %d", i, r)
	}
	for name, regions := range map[string][]Region{
		"pages": append(full, Region{Pages: 1}), "vm": {{VM: MaxVMs}}, "negative": {{VM: -1}}, "regions": make([]Region, MaxRegions+1),
	} {
		if _, err := NewLayout(regions); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSplitEqualComparesBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 40).Draw(t, "values")
		var owners []Page
		var data []byte
		want := map[int][]Page{}
		for i, v := range values {
			p := Page(1000 - i)
			owners, want[v] = append(owners, p), append(want[v], p)
			if v == 0 {
				data = append(data, zeroPage[:]...)
			} else {
				data = append(data, pageOf(v)...)
			}
		}
		groups := SplitEqual(nil, 9, owners, data)
		if len(groups) != len(want) {
			t.Fatalf("%d groups, want %d", len(groups), len(want))
		}
		var flat []Page
		for _, g := range groups {
			v := values[1000-int(g.Owners[0])]
			if !slices.Equal(g.Owners, want[v]) || g.Hash != Digest(9, g.Data) || v > 0 && !bytes.Equal(g.Data, pageOf(v)) {
				t.Fatalf("group %v hash %x of value %d, want %v", g.Owners, g.Hash, v, want[v])
			}
			flat = append(flat, g.Owners...)
		}
		if !slices.Equal(flat, owners) {
			t.Fatalf("owners not reordered in place: %v, %v", flat, owners)
		}
	})
}

func TestSplitFirstTellsApartPagesOfOneHash(t *testing.T) {
	data := append(append(append(pageOf(1), pageOf(2)...), pageOf(1)...), pageOf(3)...)
	all := []owner{{5, 10, 0}, {5, 11, 1}, {5, 12, 2}, {6, 13, 3}}
	n := splitFirst(all, data)
	if want := []owner{{5, 10, 0}, {5, 12, 2}, {5, 11, 1}, {6, 13, 3}}; n != 2 || !slices.Equal(all, want) {
		t.Fatalf("%d %v", n, all)
	}
}

func TestHeldReusesTheIndexMemory(t *testing.T) {
	l := fleet(t, 2, 1000)
	x, err := NewIndex(syntheticLook(l, func(p Page) uint64 { return uint64(p % 7) }), nil, l, Workers{})
	if err != nil {
		t.Fatal(err)
	}
	h := x.Held()
	for p := range Page(2000) {
		if h.Get(p) != 0 {
			t.Fatalf("page %d is not empty", p)
		}
	}
	h.Set(3, 99)
	if h.Get(3) != 99 || x.Held().Get(3) != 0 {
		t.Error("two tables share memory")
	}
}

// TestMemoryPerPage counts every byte ever allocated for looks, index and held table, so that what only building needs
// counts as well.
func TestMemoryPerPage(t *testing.T) {
	const vms, pages = 64, 1 << 15
	for name, value := range map[string]func(p Page) uint64{
		"unique":            func(p Page) uint64 { return uint64(p) + 1 },
		"half shared":       func(p Page) uint64 { return uint64(p%(pages/2)) + 1 + uint64(p/pages)<<32*uint64(p%2) },
		"one content":       func(Page) uint64 { return 1 },
		"a set per content": func(p Page) uint64 { return pairsOfVMs(p, vms, pages) },
	} {
		l := fleet(t, vms, pages)
		got := allocated(func() {
			first, second := syntheticLook(l, value), syntheticLook(l, value)
			x, err := NewIndex(first, second, l, Workers{})
			if err != nil {
				t.Fatal(err)
			}
			x.Held().Set(1, 2)
			runtime.KeepAlive(x)
		})
		per := float64(got) / float64(l.Pages())
		t.Logf("%s: %.2f bytes a page", name, per)
		if per > 24 {
			t.Errorf("%s: %.2f bytes a page, at most 24", name, per)
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func ExampleSplitEqual() {
	data := append(pageOf(1), append(pageOf(2), pageOf(1)...)...)
	for _, g := range SplitEqual(nil, 7, []Page{10, 20, 30}, data) {
		fmt.Println(g.Owners)
	}
	// Output:
	// [10 30]
	// [20]
}
