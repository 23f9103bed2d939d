package dedup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// ram is a Reader over pages in memory: nil pages are holes.
type ram [][][]byte

func (m ram) ReadPages(region int, first uint32, n int, dst []byte) error {
	for i := range n {
		b := dst[i*PageSize : (i+1)*PageSize]
		clear(b)
		copy(b, m[region][int(first)+i])
	}
	return nil
}

func (m ram) Populated(region int, yield func(first, n uint32) error) error {
	pages := m[region]
	for i := 0; i < len(pages); i++ {
		j := i
		for j < len(pages) && pages[j] != nil {
			j++
		}
		if j > i {
			if err := yield(uint32(i), uint32(j-i)); err != nil {
				return err
			}
		}
		i = j
	}
	return nil
}

// world is a drawn set of regions with the values of their pages in two looks. Value 0 is a zero page.
type world struct {
	regions       []Region
	first, second [][]int
}

func drawWorld(t *rapid.T) (world, *Layout) {
	var w world
	domains := rapid.Uint32Range(1, 3).Draw(t, "domains")
	values := rapid.IntRange(1, 40).Draw(t, "values")
	for i := range rapid.IntRange(0, 8).Draw(t, "regions") {
		r := Region{VM: rapid.IntRange(0, 5).Draw(t, "vm"), Block: i, Domain: rapid.Uint32Range(0, domains-1).Draw(t, "domain")}
		page := rapid.IntRange(0, values)
		a := rapid.SliceOfN(page, 0, 60).Draw(t, "pages")
		b := slices.Clone(a)
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			if len(b) > 0 {
				b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = page.Draw(t, "to")
			}
		}
		r.Pages = uint32(len(a))
		w.regions, w.first, w.second = append(w.regions, r), append(w.first, a), append(w.second, b)
	}
	l, err := NewLayout(w.regions)
	if err != nil {
		t.Fatal(err)
	}
	return w, l
}

func pageOf(value int) []byte {
	b := make([]byte, PageSize)
	copy(b[value*7%4000:], fmt.Sprint(value))
	return b
}

func ramOf(values [][]int) ram {
	m := make(ram, len(values))
	for i, region := range values {
		for j, v := range region {
			switch {
			case v > 0:
				m[i] = append(m[i], pageOf(v))
			case j%2 == 0:
				m[i] = append(m[i], make([]byte, PageSize))
			default:
				m[i] = append(m[i], nil)
			}
		}
	}
	return m
}

// twin is what an Index should say, found the dumb way: owners of each class's contents, by the class's VMs.
func (w world) twin(l *Layout) (map[string][][]Page, Stats) {
	type content struct {
		value  int
		domain uint32
	}
	owners := map[content][]Page{}
	st := Stats{Pages: l.Pages()}
	for p := range Page(l.Pages()) {
		r, i := l.Locate(p)
		switch v := w.first[r][i]; {
		case v != w.second[r][i]:
			st.Hot++
		case v == 0:
			st.Zero++
		default:
			c := content{v, w.regions[r].Domain}
			owners[c] = append(owners[c], p)
		}
	}
	classes := map[string][][]Page{}
	for _, pages := range owners {
		vms := vmsOf(l, pages)
		key := fmt.Sprint(vms)
		classes[key] = append(classes[key], pages)
		st.Contents++
		switch {
		case len(pages) == 1:
			st.Unique++
		case len(vms) == 1:
			st.Duplicate += uint64(len(pages))
		default:
			st.Shared += uint64(len(pages))
		}
	}
	for _, c := range classes {
		sort.Slice(c, func(i, j int) bool { return c[i][0] < c[j][0] })
	}
	st.Classes = uint64(len(classes))
	return classes, st
}

func vmsOf(l *Layout, pages []Page) []int {
	var vms []int
	for _, p := range pages {
		vms = append(vms, l.VM(p))
	}
	slices.Sort(vms)
	return slices.Compact(vms)
}

func look(t interface{ Fatal(...any) }, l *Layout, values [][]int) *Look {
	k, err := Scan(context.Background(), ramOf(values), l, 42, ScanOptions{Workers: Workers{Count: 3}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func contentsOf(x *Index) map[string][][]Page {
	out := map[string][][]Page{}
	for i, c := range x.Classes() {
		for owners := range x.Contents(i) {
			key := fmt.Sprint(c.VMs)
			out[key] = append(out[key], slices.Clone(owners))
		}
	}
	return out
}

// TestShared: the pages of a VM that are among several owners of a content, and these owners.
func TestShared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, l := drawWorld(t)
		x, err := newIndex(look(t, l, w.first), nil, l, Workers{Count: 1}, minSetBudget)
		if err != nil {
			t.Fatal(err)
		}
		where, want := x.Locator(), make(map[int][]Page)
		for _, contents := range contentsOf(x) {
			for _, owners := range contents {
				for _, p := range owners {
					found := where.Owners(p)
					if len(owners) > 1 {
						want[l.VM(p)] = append(want[l.VM(p)], p)
					} else if found == nil {
						continue
					}
					if !slices.Equal(found, owners) {
						t.Fatalf("page %d: owners %v, want %v", p, found, owners)
					}
				}
			}
		}
		for vm := range l.VMs() {
			if got := slices.Sorted(x.Shared(vm)); !slices.Equal(got, slices.Sorted(slices.Values(want[vm]))) {
				t.Fatalf("vm %d: %v, want %v", vm, got, want[vm])
			}
		}
	})
}

// TestContentsFromAPart: what is left out is the beginning, and about as much as was asked for.
func TestContentsFromAPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, l := drawWorld(t)
		x, err := newIndex(look(t, l, w.first), nil, l, Workers{Count: 1}, minSetBudget)
		if err != nil {
			t.Fatal(err)
		}
		part := rapid.Float64Range(0, 1).Draw(t, "part")
		for i, c := range x.Classes() {
			var all, rest [][]Page
			for owners := range x.Contents(i) {
				all = append(all, slices.Clone(owners))
			}
			for owners := range x.ContentsFrom(i, part) {
				rest = append(rest, slices.Clone(owners))
			}
			left := len(all) - len(rest)
			if left < 0 || !slices.EqualFunc(all[left:], rest, slices.Equal[[]Page]) {
				t.Fatalf("class %v from %v: %v of %v", c.VMs, part, rest, all)
			}
			count := func(owners []Page) int { return len(owners) }
			if len(c.VMs) == 1 {
				count = kindOf(all)
			}
			before, last, want := 0, 0, 0
			for i, owners := range all {
				n := count(owners)
				want += n
				if i < left && n > 0 {
					before, last = before+n, n
				}
			}
			want = int(part * float64(want))
			if before < want || before-last > want {
				t.Fatalf("class %v from %v: %d of %v left out, want %d", c.VMs, part, left, all, want)
			}
		}
	})
}

// kindOf counts those contents of a VM of which there are more: with one owner, or the owners of the others.
func kindOf(all [][]Page) func([]Page) int {
	alone, several := 0, 0
	for _, owners := range all {
		if len(owners) == 1 {
			alone++
		} else {
			several += len(owners)
		}
	}
	return func(owners []Page) int {
		switch {
		case several > alone && len(owners) > 1:
			return len(owners)
		case several <= alone && len(owners) == 1:
			return 1
		}
		return 0
	}
}

func TestIndexEqualsItsDumbTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, l := drawWorld(t)
		workers := rapid.IntRange(1, 4).Draw(t, "workers")
		x, err := newIndex(look(t, l, w.first), look(t, l, w.second), l, Workers{Count: workers}, minSetBudget)
		if err != nil {
			t.Fatal(err)
		}
		want, stats := w.twin(l)
		if d := cmp.Diff(want, contentsOf(x)); d != "" {
			t.Fatalf("contents (-want +got):\n%s", d)
		}
		if d := cmp.Diff(stats, x.Stats()); d != "" {
			t.Fatalf("stats (-want +got):\n%s", d)
		}
		checkClasses(t, x, want)
	})
}

func checkClasses(t *rapid.T, x *Index, want map[string][][]Page) {
	var prev []int
	for _, c := range x.Classes() {
		contents := want[fmt.Sprint(c.VMs)]
		pages := 0
		for _, owners := range contents {
			pages += len(owners)
		}
		if c.Contents != len(contents) || c.Pages != pages || c.Bytes != int64(len(contents))*PageSize {
			t.Fatalf("class %+v: want %d contents, %d pages", c, len(contents), pages)
		}
		if len(c.VMs) < len(prev) || len(c.VMs) == len(prev) && slices.Compare(prev, c.VMs) >= 0 {
			t.Fatalf("class %v after %v", c.VMs, prev)
		}
		prev = c.VMs
	}
}

// syntheticLook fills hashes directly: what a scan of pages with these values would give.
func syntheticLook(l *Layout, value func(Page) uint64) *Look {
	k := &Look{hashes: make([]uint64, l.Pages())}
	for p := range k.hashes {
		if v := value(Page(p)); v != 0 {
			k.hashes[p] = (v+1)*0xbf58476d1ce4e5b9 ^ v<<7
		}
	}
	return k
}

// fleet lays out n VMs of the given pages each.
func fleet(t testing.TB, vms int, pages uint32) *Layout {
	var regions []Region
	for vm := range vms {
		regions = append(regions, Region{VM: vm, Pages: pages})
	}
	l, err := NewLayout(regions)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestIndexOfOneContentThatIsEverywhere(t *testing.T) {
	l := fleet(t, 3, maxSort)
	value := func(p Page) uint64 {
		if p%3 == 0 {
			return uint64(p) + 100
		}
		return 7
	}
	x, err := newIndex(syntheticLook(l, value), nil, l, Workers{Count: 2}, minSetBudget)
	if err != nil {
		t.Fatal(err)
	}
	classes := x.Classes()
	last := classes[len(classes)-1]
	if len(classes) != 4 || last.Contents != 1 || last.Pages != 2*maxSort {
		t.Fatalf("classes %+v", classes)
	}
	for owners := range x.Contents(3) {
		if !slices.IsSorted(owners) || len(owners) != 2*maxSort || owners[0]%3 == 0 {
			t.Fatalf("%d owners", len(owners))
		}
	}
	if s := x.Stats(); s.Unique != maxSort {
		t.Fatalf("stats %+v", s)
	}
}

// pairsOfVMs makes every content owned by two pages of a pair of VMs nearly its own.
func pairsOfVMs(p Page, vms, pages uint32) uint64 {
	vm, i := uint32(p)/pages, uint32(p)%pages
	half := vms / 2
	if vm < half {
		return uint64(vm)*uint64(pages) + uint64(i) + 1
	}
	other := (vm + i*7) % half
	return uint64(other)*uint64(pages) + uint64(i) + 1
}

func TestIndexDoesNotDependOnWorkers(t *testing.T) {
	const vms, pages = 64, 4096
	l := fleet(t, vms, pages)
	for _, budget := range []int{minSetBudget, 8192} {
		var want string
		for workers := 1; workers <= 5; workers++ {
			x, err := newIndex(syntheticLook(l, func(p Page) uint64 { return pairsOfVMs(p, vms, pages) }), nil, l, Workers{Count: workers}, budget)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for i, c := range x.Classes() {
				fmt.Fprint(&b, c)
				for owners := range x.Contents(i) {
					fmt.Fprint(&b, owners)
				}
			}
			if want == "" {
				want = b.String()
			} else if b.String() != want {
				t.Fatalf("budget %d: %d workers give another index", budget, workers)
			}
		}
	}
}

func TestSetsBeyondTheBoundsAreTakenApart(t *testing.T) {
	const vms, pages = 64, 1024
	l := fleet(t, vms, pages)
	x, err := newIndex(syntheticLook(l, func(p Page) uint64 { return pairsOfVMs(p, vms, pages) }), nil, l, Workers{Count: 2}, 10*(setCost+4))
	if err != nil {
		t.Fatal(err)
	}
	several, seen := 0, newBitmap(l.Pages())
	for i, c := range x.Classes() {
		if len(c.VMs) > 1 {
			several++
		}
		n := 0
		for owners := range x.Contents(i) {
			n++
			if got := vmsOf(l, owners); !slices.Equal(got, c.VMs) {
				t.Fatalf("class %v has a content of %v", c.VMs, got)
			}
			for _, p := range owners {
				seen.set(uint64(p))
			}
		}
		if n != c.Contents {
			t.Fatalf("class %v: %d contents, says %d", c.VMs, n, c.Contents)
		}
	}
	if several != 10 {
		t.Fatalf("%d classes of several VMs, want 10", several)
	}
	if s := x.Stats(); seen.count() != l.Pages() || s.Unique+s.Duplicate+s.Shared != l.Pages() {
		t.Fatalf("%d pages seen, stats %+v", seen.count(), s)
	}
}

func TestNewIndexRefusesForeignLooks(t *testing.T) {
	l, other := fleet(t, 1, 4), fleet(t, 1, 5)
	one := func(Page) uint64 { return 1 }
	used := syntheticLook(l, one)
	if _, err := NewIndex(used, nil, l, Workers{}); err != nil {
		t.Fatal(err)
	}
	keyed := syntheticLook(l, one)
	keyed.seed = 9
	for name, looks := range map[string][2]*Look{
		"consumed": {used, nil}, "layout": {syntheticLook(other, one), nil}, "second": {syntheticLook(l, one), syntheticLook(other, one)},
		"seed": {syntheticLook(l, one), keyed},
	} {
		if _, err := NewIndex(looks[0], looks[1], l, Workers{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// faulty fails to read one page, or reports a run beyond its region.
type faulty struct {
	ram
	page   uint32
	beyond bool
}

var errBroken = errors.New("broken")

func (f faulty) ReadPages(region int, first uint32, n int, dst []byte) error {
	if f.page >= first && f.page < first+uint32(n) {
		return errBroken
	}
	return f.ram.ReadPages(region, first, n, dst)
}

func (f faulty) Populated(region int, yield func(first, n uint32) error) error {
	if f.beyond {
		return yield(1, uint32(len(f.ram[region])))
	}
	return f.ram.Populated(region, yield)
}

// TestWorkersBegin: each goroutine that scans, or makes an index, begins with what the caller wants it to begin with.
func TestWorkersBegin(t *testing.T) {
	values := [][]int{slices.Repeat([]int{1, 2}, 5*chunkPages)}
	l := fleet(t, 1, 10*chunkPages)
	var begun atomic.Int32
	w := Workers{Count: 3, Begin: func() { begun.Add(1) }}
	look, err := Scan(t.Context(), ramOf(values), l, 1, ScanOptions{Workers: w})
	if err != nil {
		t.Fatal(err)
	}
	if n := begun.Swap(0); n != 3 {
		t.Errorf("scan: %d began, want 3", n)
	}
	if _, err := NewIndex(look, nil, l, w); err != nil {
		t.Fatal(err)
	}
	if n := begun.Load(); n == 0 {
		t.Error("index: none began")
	}
}

func TestScanReportsWhatItCannotRead(t *testing.T) {
	values := [][]int{slices.Repeat([]int{1}, 10*chunkPages)}
	l := fleet(t, 1, 10*chunkPages)
	_, err := Scan(t.Context(), faulty{ram: ramOf(values), page: 70}, l, 1, ScanOptions{Workers: Workers{Count: 2}})
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "vm 0: ram block 0: pages 64+64") {
		t.Errorf("unreadable page: %v", err)
	}
	_, err = Scan(t.Context(), faulty{ram: ramOf(values), page: 1 << 30, beyond: true}, l, 1, ScanOptions{})
	if err == nil || !strings.Contains(err.Error(), "beyond page 640") {
		t.Errorf("run beyond the region: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	if _, err = Scan(ctx, ramOf(values), l, 1, ScanOptions{}); !errors.Is(err, errBroken) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestRenew: pages of the wanted stripes are as they are now, holes among them zero; others stay what they were.
func TestRenew(t *testing.T) {
	const pages = 5*StripePages + 3
	values := [][]int{make([]int, pages), make([]int, 7)}
	for i := range pages {
		values[0][i] = 1 + i%9
	}
	l, err := NewLayout([]Region{{Pages: pages}, {VM: 1, Pages: 7}})
	if err != nil {
		t.Fatal(err)
	}
	first, err := Scan(t.Context(), ramOf(values), l, 5, ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k := first.Clone()
	before := slices.Clone(values[0])
	for i := range pages {
		values[0][i] = i % 3 * 20
	}
	values[1][6] = 4
	wanted := func(region int, stripe uint32) bool { return region == 1 || stripe%2 == 1 }
	if err := k.Renew(t.Context(), ramOf(values), l, wanted, ScanOptions{Workers: Workers{Count: 3}}); err != nil {
		t.Fatal(err)
	}
	for p := range Page(l.Pages()) {
		r, i := l.Locate(p)
		v := values[r][i]
		if !wanted(r, i/StripePages) {
			v = before[i]
		}
		want := uint64(0)
		if v > 0 {
			want = HashPage(5, pageOf(v))
		}
		if k.Hash(p) != want {
			t.Errorf("region %d, page %d: hash %x, want %x", r, i, k.Hash(p), want)
		}
		if r == 0 && first.Hash(p) != HashPage(5, pageOf(before[i])) {
			t.Errorf("page %d: the look that was copied has changed", i)
		}
	}
	other, err := NewLayout([]Region{{Pages: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Renew(t.Context(), ramOf(values), other, wanted, ScanOptions{}); err == nil {
		t.Error("a look at another layout was renewed")
	}
}

func TestScanReadsOnlyPopulatedPages(t *testing.T) {
	values := [][]int{{1, 0, 0, 0, 3, 3}, {0, 0, 5}}
	l, err := NewLayout([]Region{{Pages: 6}, {VM: 1, Pages: 3}})
	if err != nil {
		t.Fatal(err)
	}
	var read atomic.Uint64
	k, err := Scan(t.Context(), ramOf(values), l, 5, ScanOptions{Read: &read})
	if err != nil {
		t.Fatal(err)
	}
	if k.Read() != 6 || read.Load() != 6 {
		t.Errorf("read %d pages, counted %d, want 6 of which 2 are zero", k.Read(), read.Load())
	}
	for p := range Page(9) {
		r, i := l.Locate(p)
		want := uint64(0)
		if v := values[r][i]; v > 0 {
			want = HashPage(5, pageOf(v))
		}
		if k.Hash(p) != want {
			t.Errorf("page %d: hash %x, want %x", p, k.Hash(p), want)
		}
	}
}
