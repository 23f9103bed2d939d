package fill

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/pageset"
)

// page is one of region 0.
func page(n uint32) pageset.Page { return pageset.Page{Page: n} }

// lacking is an order of all pages of regions with so many.
func lacking(sizes ...uint32) *Order {
	s := pageset.New(sizes...)
	for i, n := range sizes {
		s.AddRun(i, 0, n)
	}
	return NewOrder(s, nil)
}

// TestEachPageOnce: whatever is asked for and when, every page that the VM lacks is sent, and none twice.
func TestEachPageOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Uint32Range(0, 300), 1, 3).Draw(t, "sizes")
		left, warm, want := pageset.New(sizes...), pageset.New(sizes...), 0
		for i, n := range sizes {
			for p := range n {
				switch rapid.IntRange(0, 3).Draw(t, "kind") {
				case 0:
					warm.Add(pageset.Page{Region: i, Page: p})
					fallthrough
				case 1:
					left.Add(pageset.Page{Region: i, Page: p})
					want++
				}
			}
		}
		o, sent := NewOrder(left, warm), pageset.New(sizes...)
		for o.Left() > 0 {
			if rapid.Bool().Draw(t, "wants") {
				p := pageset.Page{Region: rapid.IntRange(0, len(sizes)).Draw(t, "region"), Page: rapid.Uint32Range(0, 310).Draw(t, "page")}
				if o.Want(p) {
					want++
				}
			}
			for _, p := range o.Next(nil, rapid.IntRange(1, 9).Draw(t, "n")) {
				if !sent.Add(p) {
					t.Fatalf("%v was sent twice", p)
				}
			}
		}
		if sent.Len() != want || len(o.Next(nil, 5)) != 0 {
			t.Fatalf("%d pages were sent, want %d", sent.Len(), want)
		}
	})
}

// TestWhatIsAskedForComesFirst: then what is around it, then the rest from there on.
func TestWhatIsAskedForComesFirst(t *testing.T) {
	o := lacking(1000)
	o.Want(page(500))
	o.Want(page(100))
	got := o.Next(nil, 6)
	want := []pageset.Page{page(500), page(100), page(101), page(99), page(102), page(98)}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	got = o.Next(nil, bubbleSize)
	if last := got[len(got)-1]; last.Page < 100+bubbleSize/2 || o.Waits() {
		t.Errorf("behind the bubble comes %v", last)
	}
}

// TestWhatWasWrittenLastComesBeforeTheRest unless something is asked for.
func TestWhatWasWrittenLastComesBeforeTheRest(t *testing.T) {
	left, warm := pageset.New(100), pageset.New(100)
	left.AddRun(0, 0, 100)
	warm.AddRun(0, 70, 3)
	o := NewOrder(left, warm)
	got := o.Next(nil, 4)
	for i, want := range []uint32{70, 71, 72, 0} {
		if got[i] != page(want) {
			t.Fatalf("%v", got)
		}
	}
}

// TestHeldOrderSendsWhatIsAskedFor, and the rest when it is let go, but for what others have sent.
func TestHeldOrderSendsWhatIsAskedFor(t *testing.T) {
	o := lacking(1000)
	o.Hold()
	if got := o.Next(nil, 9); len(got) != 0 {
		t.Errorf("nobody asks: %v", got)
	}
	o.Want(page(500))
	if got := o.Next(nil, 1000); len(got) != 1+bubbleSize {
		t.Errorf("%d pages", len(got))
	}
	o.Sweep(func(p pageset.Page) bool { return p.Page != 7 && p.Page != 999 })
	if got := o.Next(nil, 1000); len(got) != 2 || o.Left() != 0 {
		t.Errorf("%v, %d left", got, o.Left())
	}
}

// TestAPageThatIsAskedForIsSent even where the VM was not known to lack it, once.
func TestAPageThatIsAskedForIsSent(t *testing.T) {
	o := NewOrder(pageset.New(10), nil)
	if !o.Want(page(3)) || o.Want(page(3)) || !o.Waits() {
		t.Error("is not news once")
	}
	if got := o.Next(nil, 9); len(got) != 1 || got[0] != page(3) {
		t.Errorf("%v", got)
	}
	if o.Want(page(3)) || o.Waits() || o.Want(page(10)) || o.Waits() {
		t.Error("it is sent again, or one that is none")
	}
}
