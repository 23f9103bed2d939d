package steer

import (
	"slices"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
)

// pass is what a Steering is told at the begin of a pass, since the pass before.
type pass struct {
	dirty int64 // pages now
	seen  int64 // pages that the filter saw
	sent  int64 // of them, passed on
}

// steered is what follows from each pass, and the last prediction.
func steered(s *Steering, passes []pass) (out []Order) {
	var seen, sent int64
	for _, p := range passes {
		seen, sent = seen+p.seen, sent+p.sent
		out = append(out, s.Step(Observation{Remaining: p.dirty * model.PageSize, Processed: seen, Sent: sent * model.PageSize}))
	}
	return out
}

func TestSteering(t *testing.T) {
	const (
		hold    = Hold
		release = SwitchOver
		stalled = GiveUp
	)
	// At 1000 pages/s and a limit of 120 ms, 100 pages fit after the fixed 20 ms, less what QEMU itself takes.
	cases := []struct {
		name   string
		passes []pass
		want   []Order
	}{
		{"the first pass predicts nothing", []pass{{0, 0, 0}}, []Order{hold}},
		{"even if all that it saw was dropped", []pass{{10, 5000, 0}}, []Order{hold}},
		{"few dirty pages", []pass{{5000, 0, 0}, {90, 5000, 5000}}, []Order{hold, release}},
		{"too many", []pass{{5000, 0, 0}, {110, 5000, 5000}}, []Order{hold, hold}},
		{"what the first pass dropped says nothing of dirty pages", []pass{{5000, 0, 0}, {900, 5000, 0}}, []Order{hold, hold}},
		{"many dirty, but few of them changed", []pass{{5000, 0, 0}, {900, 5000, 500}, {900, 900, 90}}, []Order{hold, hold, release}},
		{"nothing was seen in a pass", []pass{{5000, 0, 0}, {10, 0, 0}, {10, 10, 10}}, []Order{hold, hold, release}},
		{"three passes that are no better", []pass{{5000, 0, 0}, {900, 5000, 5000}, {900, 900, 900}, {900, 900, 900}, {900, 900, 900}, {900, 900, 900}},
			[]Order{hold, hold, hold, hold, stalled, stalled}},
		{"worse each time", []pass{{5000, 0, 0}, {900, 5000, 5000}, {1000, 900, 900}, {1100, 1000, 1000}, {1200, 1100, 1100}},
			[]Order{hold, hold, hold, hold, stalled}},
		{"better by less than a tenth is no better", []pass{{5000, 0, 0}, {1000, 9, 9}, {960, 9, 9}, {950, 9, 9}, {940, 9, 9}},
			[]Order{hold, hold, hold, hold, stalled}},
		{"an improvement begins the count again", []pass{{5000, 0, 0}, {1000, 9, 9}, {1000, 9, 9}, {1000, 9, 9}, {700, 9, 9}, {700, 9, 9}, {700, 9, 9}, {700, 9, 9}},
			[]Order{hold, hold, hold, hold, hold, hold, hold, stalled}},
		{"steady progress is never a stall", []pass{{5000, 0, 0}, {4000, 9, 9}, {3000, 9, 9}, {2200, 9, 9}, {1500, 9, 9}, {1000, 9, 9}, {600, 9, 9}, {90, 9, 9}},
			[]Order{hold, hold, hold, hold, hold, hold, hold, release}},
		{"what fits at last is released, after however many passes", []pass{{5000, 0, 0}, {900, 9, 9}, {900, 9, 9}, {900, 9, 9}, {80, 9, 9}},
			[]Order{hold, hold, hold, hold, release}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &Steering{Rate: 1000 * model.PageSize, Limit: 120 * time.Millisecond}
			if got := steered(s, c.passes); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v (last prediction %v)", got, c.want, s.Predicted)
			}
		})
	}
}

// TestSteeringPredicts: the share of the last pass counts, not that of the whole migration.
func TestSteeringPredicts(t *testing.T) {
	s := &Steering{Rate: 1000 * model.PageSize, Limit: time.Millisecond}
	steered(s, []pass{{5000, 0, 0}, {1000, 10000, 10000}, {1000, 1000, 250}})
	want := modes.FixedPerStop + 250*time.Millisecond
	if d := s.Predicted - want; d < 0 || d > 10*time.Millisecond { // QEMU's own time for 1000 pages
		t.Errorf("predicted %v, want little more than %v", s.Predicted, want)
	}
}

// TestPostCopyInsteadOfAnotherPass: in mode hybrid a VM of which more remains after its first pass than fits takes over; otherwise, where it may, when
// it would be given up; and never where what remains fits.
func TestPostCopyInsteadOfAnotherPass(t *testing.T) {
	stall := []pass{{5000, 0, 0}, {900, 5000, 5000}, {900, 900, 900}, {900, 900, 900}, {900, 900, 900}}
	for _, c := range []struct {
		name   string
		how    Steering
		passes []pass
		want   []Order
	}{
		{"hybrid", Steering{PostCopy: true, Hybrid: true}, stall[:2], []Order{Hold, PostCopy}},
		{"hybrid, and it fits", Steering{PostCopy: true, Hybrid: true}, []pass{{5000, 0, 0}, {90, 5000, 5000}}, []Order{Hold, SwitchOver}},
		{"stalls", Steering{PostCopy: true}, stall, []Order{Hold, Hold, Hold, Hold, PostCopy}},
		{"stalls, and may not", Steering{}, stall, []Order{Hold, Hold, Hold, Hold, GiveUp}},
	} {
		s := c.how
		s.Rate, s.Limit = 1000*model.PageSize, 120*time.Millisecond
		if got := steered(&s, c.passes); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for writes, want := range map[float64]bool{0.6: false, 0.8: true} {
		if s := (Steering{Rate: 1000, Writes: modes.Writes{Hot: writes * 500, In: 500 * time.Millisecond}}); s.Hopeless() != want {
			t.Errorf("writes %v of the rate: hopeless %v", writes, !want)
		}
	}
}
