package lan

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Watch looks at what the host's link sends, every millisecond.
type Watch struct {
	counters *os.File
	buffer   [4096]byte
}

// Watch begins to look. Close the Watch when it is not needed any more.
func (h *Host) Watch() (*Watch, error) {
	w := &Watch{}
	err := h.In(func() (err error) {
		w.counters, err = os.Open("/proc/thread-self/net/dev")
		return err
	})
	return w, err
}

// Close ends the watch.
func (w *Watch) Close() error { return w.counters.Close() }

// sent returns the bytes that the link has sent.
func (w *Watch) sent() (int64, error) {
	n, err := w.counters.ReadAt(w.buffer[:], 0)
	if n == 0 {
		return 0, err
	}
	for line := range bytes.Lines(w.buffer[:n]) {
		if name, rest, found := bytes.Cut(line, []byte(":")); found && string(bytes.TrimSpace(name)) == linkName {
			if fields := bytes.Fields(rest); len(fields) > 8 {
				return strconv.ParseInt(string(fields[8]), 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("%s: no %s", w.counters.Name(), linkName)
}

// A flow sends flowBytes without a pause of flowPause. Announcements and handshakes are less, or have pauses.
const (
	flowBytes = 256 << 10
	flowPause = 5 * time.Millisecond
)

// Flow returns when the link has begun to carry a flow of more than rate bytes per second, and tells when that began.
func (w *Watch) Flow(ctx context.Context, rate float64) (began time.Time, err error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	f := flow{rate: rate}
	for {
		sent, err := w.sent()
		if err != nil {
			return time.Time{}, err
		}
		if f.sees(time.Now(), sent) {
			return f.began, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
}

// flow finds where a flow begins in a sequence of counts.
type flow struct {
	rate    float64   // bytes per second; less is a pause
	began   time.Time // the last look before the present flow
	base    int64     // sent before it
	grew    time.Time // when it was last seen to go on
	looked  time.Time
	seen    int64
	started bool
}

// sees takes what was sent until now, and tells whether there is a flow.
func (f *flow) sees(now time.Time, sent int64) bool {
	if f.started && float64(sent-f.seen) >= f.rate*now.Sub(f.looked).Seconds() {
		if now.Sub(f.grew) > flowPause {
			f.began, f.base = f.looked, f.seen
		}
		f.grew = now
	}
	f.started, f.looked, f.seen = true, now, sent
	return f.grew == now && sent-f.base >= flowBytes
}
