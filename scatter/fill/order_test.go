package fill

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/model"
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
	return NewOrder(s, nil, s.Regions(), "", nil)
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
		o, sent := NewOrder(left, warm, left.Regions(), "", nil), pageset.New(sizes...)
		for o.Left() > 0 {
			if rapid.Bool().Draw(t, "wants") {
				p := pageset.Page{Region: rapid.IntRange(0, len(sizes)).Draw(t, "region"), Page: rapid.Uint32Range(0, 310).Draw(t, "page")}
				known := left.Has(p) || sent.Has(p)
				if o.Want(p) {
					if !sent.Add(p) {
						t.Fatalf("%v was sent twice", p)
					}
					if !known {
						want++
					}
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

// TestWhatIsNearComesFirst: what is around the page that was asked for last, then the rest from there on.
func TestWhatIsNearComesFirst(t *testing.T) {
	o := lacking(1000)
	if !o.Want(page(500)) || !o.Want(page(100)) {
		t.Fatal("what is asked for is not sent")
	}
	got := o.Next(nil, 4)
	for i, want := range []uint32{101, 99, 102, 98} {
		if got[i] != page(want) {
			t.Fatalf("%v", got)
		}
	}
	got = o.Next(nil, bubbleSize)
	if last := got[len(got)-1]; last.Page < 100+bubbleSize/2 {
		t.Errorf("behind the bubble comes %v", last)
	}
}

// TestWhatWasWrittenLastComesBeforeTheRest unless something is asked for.
func TestWhatWasWrittenLastComesBeforeTheRest(t *testing.T) {
	left, warm := pageset.New(100), pageset.New(100)
	left.AddRun(0, 0, 100)
	warm.AddRun(0, 70, 3)
	o := NewOrder(left, warm, left.Regions(), "", nil)
	got := o.Next(nil, 4)
	for i, want := range []uint32{70, 71, 72, 0} {
		if got[i] != page(want) {
			t.Fatalf("%v", got)
		}
	}
}

// TestHeldOrderSendsWhatIsAskedFor, and the rest when it is let go, but for what others have sent.
func TestHeldOrderSendsWhatIsAskedFor(t *testing.T) {
	claimed := pageset.New(1000)
	claimed.Add(page(510)) // others send it
	o := lacking(1000)
	o.claim = claimed.Add
	o.Hold(pageset.New(), false)
	if got := o.Next(nil, 9); len(got) != 0 {
		t.Errorf("nobody asks: %v", got)
	}
	if !o.Want(page(500)) {
		t.Error("what is asked for is not sent")
	}
	if got := o.Next(nil, 1000); len(got) != bubbleSize-1 || slices.Contains(got, page(510)) || !claimed.Has(page(501)) || claimed.Has(page(700)) || !claimed.Has(page(500)) {
		t.Errorf("%d pages", len(got))
	}
	o.Sweep(func(p pageset.Page) bool { return p.Page != 7 && p.Page != 999 })
	if got := o.Next(nil, 1000); len(got) != 2 || o.Left() != 0 {
		t.Errorf("%v, %d left", got, o.Left())
	}
}

// TestWhatOthersSendIsWaitedFor: a page on its way by others that the guest asks for is sent after a while, unless it was there before.
func TestWhatOthersSendIsWaitedFor(t *testing.T) {
	now := time.Now()
	o, theirs := lacking(1000), pageset.New(1000)
	o.clock, o.claim = func() time.Time { return now }, theirs.Add
	o.Hold(pageset.New(), false)
	theirs.AddRun(0, 0, 1000)
	if o.Want(page(500)) || o.Want(page(600)) || len(o.Next(nil, 1000)) > 0 || o.Due() != now.Add(promiseFor) {
		t.Error("it is sent as well")
	}
	now = now.Add(promiseFor)
	if got := o.Next(nil, 1); len(got) != 1 || got[0] != page(500) {
		t.Errorf("after a while: %v", got)
	}
	o.Sweep(func(pageset.Page) bool { return true })
	if got := o.Next(nil, 1000); len(got) > 0 || !o.Due().IsZero() {
		t.Errorf("when all is there: %v", got)
	}
}

// TestSharedPagesAreBroughtForward: those around one that is asked for, once, and further ahead the longer the guest reads in order.
func TestSharedPagesAreBroughtForward(t *testing.T) {
	o, shared := lacking(4000), pageset.New(4000)
	shared.AddRun(0, 100, 3000)
	o.Hold(shared, true)
	o.Want(page(1000))
	first := o.Ahead()
	if len(first) != bubbleSize || first[0] != page(1000-bubbleSize/2) || first[bubbleSize-1] != page(1000+bubbleSize/2-1) || o.Ahead() != nil {
		t.Fatalf("%v", first)
	}
	seen := pageset.New(4000)
	for at, before := uint32(1001), 0; at < 2500; at++ { // in order, each sooner than it comes
		o.Want(page(at))
		ahead := o.Ahead()
		for _, p := range ahead {
			if !seen.Add(p) || p.Page < at || p.Page > at+farthest || slices.Contains(first, p) {
				t.Fatalf("%v at %d", p, at)
			}
		}
		if before += len(ahead); at == 2000 && before < 1000-bubbleSize/2+farthest/2-1 {
			t.Errorf("%d pages by %d", before, at)
		}
	}
	o.Sweep(func(pageset.Page) bool { return true })
	if o.Want(page(50)); o.Ahead() != nil {
		t.Error("somebody brings pages forward when all have been sent")
	}
}

// TestAPageThatIsAskedForIsSent even where the VM was not known to lack it, once.
func TestAPageThatIsAskedForIsSent(t *testing.T) {
	o := NewOrder(pageset.New(10), nil, 1, "", nil)
	if !o.Want(page(3)) || o.Want(page(3)) || o.Want(page(10)) {
		t.Error("it is not sent once, or one that is none")
	}
	if got := o.Next(nil, 9); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestPrefetch: forward is what lies behind what is asked for, none the rest as it lies.
func TestPrefetch(t *testing.T) {
	for beside, want := range map[model.Prefetch][]uint32{model.PrefetchForward: {501, 502, 503}, model.PrefetchNone: {0, 1, 2}, model.PrefetchBubble: {501, 499, 502}} {
		left := pageset.New(1000)
		left.AddRun(0, 0, 1000)
		o := NewOrder(left, nil, left.Regions(), beside, nil)
		o.Want(page(500))
		got := o.Next(nil, 3)
		for i, p := range want {
			if got[i] != page(p) {
				t.Fatalf("%s: %v", beside, got)
			}
		}
	}
}

// TestReadingInOrderIsReadAhead: a guest that asks for the page behind each bubble gets ever larger ones, upward only; one that asks elsewhere does not.
func TestReadingInOrderIsReadAhead(t *testing.T) {
	o, at, held := lacking(10000), uint32(5000), uint32(bubbleSize/2)
	o.Hold(pageset.New(), false)
	for run := range longestRun + 2 {
		if !o.Want(page(at)) {
			t.Fatalf("page %d is not sent", at)
		}
		got := o.Next(nil, 10000)
		if want := bubbleSize << min(run, longestRun); len(got) != want {
			t.Fatalf("bubble %d has %d pages, want %d", run, len(got), want)
		}
		if run > 0 {
			held = uint32(len(got))
		}
		at += held + 1
	}
	o.Want(page(100))
	if got := o.Next(nil, 10000); len(got) != bubbleSize {
		t.Errorf("elsewhere: %d pages", len(got))
	}
}

// TestSharedPagesAreLeftToOthers while the rest is held, but for those that are asked for.
func TestSharedPagesAreLeftToOthers(t *testing.T) {
	o, shared := lacking(1000), pageset.New(1000)
	shared.AddRun(0, 400, 200)
	o.Hold(shared, false)
	if !o.Want(page(410)) {
		t.Error("what is asked for is not sent")
	}
	for _, p := range o.Next(nil, bubbleSize) {
		if shared.Has(p) {
			t.Fatalf("%v is sent", p)
		}
	}
	o.Sweep(func(pageset.Page) bool { return false })
	if got := o.Next(nil, 1000); len(got) != 1000-1-bubbleSize {
		t.Errorf("%d pages follow", len(got))
	}
}
