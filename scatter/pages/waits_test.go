package pages

import (
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/pageset"
)

// TestWaitsAreCountedOnce by their first question, and told within a tenth.
func TestWaitsAreCountedOnce(t *testing.T) {
	var w Waits
	if w.quantile(0.5) != 0 {
		t.Error("there was none")
	}
	for i := range 100 {
		p := pageset.Page{Page: uint32(i)}
		w.Begin(p)
		w.since[p] = w.since[p].Add(-time.Duration(i+1) * time.Millisecond)
		w.Begin(p)
		w.End(p)
		w.End(p)
	}
	half, most := w.quantile(0.5), w.quantile(0.99)
	if w.n != 100 || len(w.since) != 0 || half < 45*time.Millisecond || half > 56*time.Millisecond || most < 90*time.Millisecond || most > 110*time.Millisecond {
		t.Errorf("%d, %v, %v, %d wait still", w.n, half, most, len(w.since))
	}
}
