package pageset

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSetIsASet: whatever is done to a set, it answers as a map of pages does.
func TestSetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Uint32Range(0, 200), 1, 4).Draw(t, "sizes")
		s, o, want := New(sizes...), New(sizes...), map[Page]bool{}
		page := rapid.Custom(func(t *rapid.T) Page {
			return Page{rapid.IntRange(-1, len(sizes)).Draw(t, "region"), rapid.Uint32Range(0, 210).Draw(t, "page")}
		})
		holds := func(p Page) bool { return p.Region >= 0 && p.Region < len(sizes) && p.Page < sizes[p.Region] }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				p := page.Draw(t, "p")
				if got := s.Add(p); got != (holds(p) && !want[p]) {
					t.Fatalf("add %v: %v", p, got)
				}
				if holds(p) {
					want[p] = true
				}
			},
			"remove": func(t *rapid.T) {
				p := page.Draw(t, "p")
				if got := s.Remove(p); got != want[p] {
					t.Fatalf("remove %v: %v", p, got)
				}
				delete(want, p)
			},
			"add run": func(t *rapid.T) {
				p, n := page.Draw(t, "p"), rapid.Uint32Range(0, 210).Draw(t, "n")
				fits := p.Region >= 0 && p.Region < len(sizes) && p.Page+n <= sizes[p.Region]
				if got := s.AddRun(p.Region, p.Page, n); got != fits {
					t.Fatalf("run of %d from %v: %v", n, p, got)
				}
				for i := uint32(0); fits && i < n; i++ {
					want[Page{p.Region, p.Page + i}] = true
				}
			},
			"add all": func(t *rapid.T) {
				p := page.Draw(t, "p")
				if o.Add(p); holds(p) {
					s.AddAll(o)
				}
				for r := range o.Runs() {
					for i := range r.N {
						if q := (Page{r.Region, r.First + i}); s.Has(q) {
							want[q] = true
						}
					}
				}
			},
			"": func(t *rapid.T) { check(t, s, sizes, want) },
		})
	})
}

// check compares a set to what it should be.
func check(t *rapid.T, s *Set, sizes []uint32, want map[Page]bool) {
	if s.Len() != len(want) {
		t.Fatalf("%d pages, want %d", s.Len(), len(want))
	}
	seen := 0
	var last Run
	for r := range s.Runs() {
		if r.N == 0 || r.Region == last.Region && last.N != 0 && r.First <= last.First+last.N {
			t.Fatalf("run %+v behind %+v", r, last)
		}
		for i := range r.N {
			if !want[Page{r.Region, r.First + i}] {
				t.Fatalf("run %+v has page %d", r, r.First+i)
			}
			seen++
		}
		last = r
	}
	if seen != len(want) {
		t.Fatalf("runs of %d pages, want %d", seen, len(want))
	}
	all := s.Clone()
	all.AddAll(s.Complement())
	total := 0
	for r, n := range sizes {
		total += int(n)
		for i := range n {
			if p := (Page{r, i}); s.Has(p) == s.Complement().Has(p) {
				t.Fatalf("%v is in both or none", p)
			}
		}
	}
	if all.Len() != total {
		t.Fatalf("with its complement %d, want %d", all.Len(), total)
	}
	p := Page{rapid.IntRange(0, len(sizes)-1).Draw(t, "near region"), rapid.Uint32Range(0, 210).Draw(t, "near")}
	if p.Page >= sizes[p.Region] {
		return
	}
	next, ok := s.Next(p)
	before, bok := s.Before(p)
	for i := range sizes[p.Region] {
		q := Page{p.Region, i}
		if want[q] && i >= p.Page && (!ok || i < next.Page) || want[q] && i <= p.Page && (!bok || i > before.Page) {
			t.Fatalf("near %v: next %v %v, before %v %v, and there is %v", p, next, ok, before, bok, q)
		}
	}
	if ok && !want[next] || bok && !want[before] {
		t.Fatalf("near %v: next %v, before %v", p, next, before)
	}
}
