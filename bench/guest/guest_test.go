package main

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/guest/content"
)

func TestParseWorkload(t *testing.T) {
	w, err := ParseWorkload("console=ttyS0 quiet scatter.id=7 scatter.mib_hot=3 scatter.dirty=0 GODEBUG=x=1\n")
	if err != nil || w.ID != 7 || w.Hot != 3 || w.Dirty != 0 || w.Beat != 20 {
		t.Errorf("%+v, %v", w, err)
	}
	for _, line := range []string{"scatter.what=1", "scatter.id", "scatter.id=-1", "scatter.dirty=x", "scatter.mib_hot=0", "scatter.beat_ms=0",
		"scatter.net_send=1", "scatter.net_recv=1", "scatter.net_address=255"} {
		if w, err := ParseWorkload(line); err == nil {
			t.Errorf("%q is taken for %+v", line, w)
		}
	}
}

func TestPace(t *testing.T) {
	p := pace{rate: 130}
	total := 0
	for range 1000 {
		total += p.take(7 * time.Millisecond)
	}
	if total != 910 {
		t.Errorf("%d pieces in 7 s at 130 per second", total)
	}
}

// Every kind of page is verified, at any time, and a single changed bit in any of them is found.
func TestMemory(t *testing.T) {
	m, err := NewMemory(Workload{ID: 3, Common: 1, Duplicate: 1, Own: 1, Zero: 1, Repeated: 1, Similar: 1, Text: 1, Hot: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.Rewrite(300) // more than once around
	m.Verify(m.Pages(), func(bad Mismatch) { t.Fatalf("without harm: %+v", bad) })
	for i := range m.regions {
		r := &m.regions[i]
		r.pages[17][500] ^= 1 << 40
		var found []Mismatch
		m.Verify(m.Pages(), func(bad Mismatch) { found = append(found, bad) })
		if len(found) != 1 || found[0].Name.Kind != r.kind || found[0].Name.Number != 17 || found[0].Word != 500 {
			t.Errorf("changed page 17 of %v: found %+v", r.kind, found)
		}
		r.pages[17][500] ^= 1 << 40
	}
	stamps, err := NewMemory(Workload{ID: 4, Own: 1, Hot: 1, Stamp: 1})
	if err != nil {
		t.Fatal(err)
	}
	stamps.Rewrite(700)
	stamps.Verify(stamps.Pages(), func(bad Mismatch) { t.Errorf("stamped: %+v", bad) })
	for _, change := range []int{200, 44} { // the word that has its stamp, and another
		p := &stamps.hot().pages[200]
		p[change] ^= 1
		wrong := 0
		stamps.Verify(stamps.Pages(), func(Mismatch) { wrong++ })
		if p[change] ^= 1; wrong != 1 {
			t.Errorf("a changed word %d of a stamped page: %d pages wrong", change, wrong)
		}
	}
	// A page that was right a moment ago is wrong now.
	hot := m.hot()
	old := hot.pages[m.nextHot]
	at := m.nextHot
	m.Rewrite(1)
	hot.pages[at] = old
	stale := 0
	m.Verify(m.Pages(), func(Mismatch) { stale++ })
	if stale != 1 {
		t.Errorf("%d stale pages found instead of 1", stale)
	}
}

// TestRandomOrder: each page is verified once before any is verified again, and the next one is seldom near.
func TestRandomOrder(t *testing.T) {
	m, err := NewMemory(Workload{ID: 5, Own: 2, Zero: 1, Hot: 1, Random: 1})
	if err != nil {
		t.Fatal(err)
	}
	seen, near, last := make(map[[2]int]bool), 0, 0
	for range m.Pages() {
		seen[[2]int{m.nextRegion, m.nextPage}] = true
		if d := m.place - last; d > -64 && d < 64 {
			near++
		}
		last = m.place
		if err := m.Verify(1, func(bad Mismatch) { t.Fatalf("%+v", bad) }); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != m.Pages() || near > m.Pages()/4 {
		t.Errorf("%d of %d pages verified, %d near the one before", len(seen), m.Pages(), near)
	}
}

func TestBeatLine(t *testing.T) {
	if got := string(appendBeat(nil, 0x1a2b, 0x3c, 2)); got != "h1a2b 3c 2\n" {
		t.Errorf("%q", got)
	}
}

func TestContentIsShared(t *testing.T) {
	fill := func(n content.Name) (p content.Page) { content.Fill(&p, n); return p }
	for _, c := range []struct {
		a, b content.Name
		same bool
	}{
		{content.Name{Kind: content.Common, Guest: 1, Number: 5}, content.Name{Kind: content.Common, Guest: 2, Number: 5}, true},
		{content.Name{Kind: content.Common, Number: 5}, content.Name{Kind: content.Common, Number: 6}, false},
		{content.Name{Kind: content.Own, Guest: 1}, content.Name{Kind: content.Own, Guest: 2}, false},
		{content.Name{Kind: content.Duplicate, Guest: 1, Number: 1}, content.Name{Kind: content.Duplicate, Guest: 1, Number: 1 + content.Distinct}, true},
		{content.Name{Kind: content.Duplicate, Guest: 1}, content.Name{Kind: content.Duplicate, Guest: 2}, false},
		{content.Name{Kind: content.Repeated, Guest: 1, Number: 5}, content.Name{Kind: content.Repeated, Guest: 2, Number: 6}, true},
		{content.Name{Kind: content.Similar, Guest: 1, Number: 5}, content.Name{Kind: content.Similar, Guest: 2, Number: 5}, false},
		{content.Name{Kind: content.Similar, Guest: 1, Number: 5}, content.Name{Kind: content.Similar, Guest: 1, Number: 6}, false},
		{content.Name{Kind: content.Text, Guest: 1, Number: 5}, content.Name{Kind: content.Text, Guest: 2, Number: 5}, false},
		{content.Name{Kind: content.Text, Number: 5}, content.Name{Kind: content.Common, Number: 5}, false},
		{content.Name{Kind: content.Hot, Guest: 1, Generation: 1}, content.Name{Kind: content.Hot, Guest: 1, Generation: 2}, false},
	} {
		if got := fill(c.a) == fill(c.b); got != c.same {
			t.Errorf("%+v and %+v: same is %v", c.a, c.b, got)
		}
	}
}

// What goes to Redis and comes from it is as its protocol has it, and nothing else is taken for an answer.
func TestRedisProtocol(t *testing.T) {
	if got := string(appendKey(nil, content.Name{Kind: content.Own, Number: 17})); got != "$6\r\nown:17\r\n" {
		t.Errorf("key %q", got)
	}
	for answer, want := range map[string]bool{
		"$3\r\na\nb\r\n": true, "$4\r\nabcd\r\n": false, "$-1\r\n": false, "-ERR no\r\n": false, "$3\r\nab": false, "$3\r\nabcd\r\n": false, "": false,
	} {
		value := make([]byte, 3)
		err := readValue(bufio.NewReader(strings.NewReader(answer)), value)
		if ok := err == nil && string(value) == "a\nb"; ok != want {
			t.Errorf("answer %q: value %q, %v", answer, value, err)
		}
	}
}
