package pages

import (
	"math"
	"time"

	"github.com/scatter-vm/scatter/scatter/pageset"
)

// Waits measures how long a guest waits for pages: from when its QEMU asks for one until it is given to it. Its methods are not safe for concurrent use.
type Waits struct {
	since map[pageset.Page]time.Time
	took  [waitBuckets]int64 // by the logarithm of the time
	n     int64
}

const (
	waitBuckets = 160
	waitStep    = 1.1 // between the bounds of two buckets
	leastWait   = 20 * time.Microsecond
)

// Begin notes that a page is asked for. It is asked for by as many threads as a guest has processors, and some.
func (w *Waits) Begin(p pageset.Page) {
	if w.since == nil {
		w.since = make(map[pageset.Page]time.Time)
	}
	if _, ok := w.since[p]; !ok {
		w.since[p] = time.Now()
	}
}

// End notes that a page was given.
func (w *Waits) End(p pageset.Page) {
	at, ok := w.since[p]
	if !ok {
		return
	}
	delete(w.since, p)
	bucket := math.Log(float64(max(leastWait, time.Since(at)))/float64(leastWait)) / math.Log(waitStep)
	w.took[min(waitBuckets-1, int(bucket))]++
	w.n++
}

// quantile is the time that a share of the waits did not take; 0 if there were none.
func (w *Waits) quantile(share float64) time.Duration {
	left := int64(math.Ceil(share * float64(w.n)))
	for i, n := range w.took {
		if left -= n; left <= 0 && w.n > 0 {
			return time.Duration(float64(leastWait) * math.Pow(waitStep, float64(i)+0.5))
		}
	}
	return 0
}

// Add counts the waits of another kind, too.
func (w *Waits) Add(o *Waits) {
	for i, n := range o.took {
		w.took[i] += n
	}
	w.n += o.n
}

// Told is how often a guest has waited for a page that had to come, how long half of these waits took at most, and 99 of 100.
func (w *Waits) Told() (n int64, median, most time.Duration) {
	return w.n, w.quantile(0.5), w.quantile(0.99)
}

// Waits is what there was so far.
func (r *RAM) Waits() (w Waits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Add(&r.waits)
	return w
}
