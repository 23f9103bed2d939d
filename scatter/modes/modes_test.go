package modes

import (
	"math"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
)

const mib = 1 << 20

// lan is a way of 300 Mbit/s of an evacuation that takes 9 s.
var lan = Way{Rate: 37.5e6, Fill: 37.5e6, Limit: 300 * time.Millisecond, All: 9 * time.Second}

// anything is the policy that allows all modes.
var anything = Policy{Mode: model.ModeAuto, Throttle: 0.9, PostCopy: true}

// Guests as they were measured.
var (
	calm   = VM{Memory: 256 * mib, Writes: Writes{Hot: 1 * mib, In: 700 * time.Millisecond}}
	brisk  = VM{Memory: 256 * mib, Writes: Writes{Hot: 12 * mib, In: 700 * time.Millisecond, Set: 24 * mib}} // converges in some passes
	writer = VM{Memory: 320 * mib, Writes: Writes{Hot: 36 * mib, In: 700 * time.Millisecond, Set: 64 * mib}}
	hasty  = VM{Memory: 3000 * mib, Writes: Writes{Hot: 1000 * mib, In: 700 * time.Millisecond, Set: 2000 * mib}} // no throttle is enough
)

func TestChoose(t *testing.T) {
	talks := func(v VM, sends, receives float64) VM {
		v.Traffic = Traffic{Sends: sends * lan.Rate, Receives: receives * lan.Rate, Known: true}
		return v
	}
	noPost, noThrottle, nothing := anything, anything, Policy{Mode: model.ModeAuto}
	noPost.PostCopy, noThrottle.Throttle = false, 0
	for _, c := range []struct {
		name   string
		vm     VM
		policy Policy
		gain   time.Duration
		want   model.Mode
	}{
		{"calm", calm, anything, 0, model.ModePre},
		{"brisk", brisk, anything, 0, model.ModePre},
		{"writes too fast", writer, noThrottle, 0, model.ModeHybrid},
		{"writes too fast, and is never to be moved by post-copy", writer, noPost, 0, model.ModeThrottle},
		{"writes faster than it can be throttled", hasty, anything, 0, model.ModeHybrid},
		{"nothing helps", hasty, nothing, 0, model.ModePre},
		{"sends much", talks(calm, 0.6, 0), anything, 13 * time.Second, model.ModePost},
		{"sends much, and must not", talks(calm, 0.6, 0), noPost, 13 * time.Second, model.ModePre},
		{"sends little", talks(calm, 0.02, 0), anything, 200 * time.Millisecond, model.ModePre},
		{"receives much", talks(calm, 0, 0.6), anything, 0, model.ModePre},
		{"writes too fast, and receives much", talks(writer, 0, 0.6), anything, 0, model.ModeThrottle},
		{"the operator's choice", calm, Policy{Mode: model.ModePost, PostCopy: true, Must: true}, 0, model.ModePost},
		{"a kept choice", calm, anything.Keep(model.ModeHybrid), 0, model.ModeHybrid},
		{"a kept choice that is not allowed any more", calm, noPost.Keep(model.ModeHybrid), 0, model.ModePre},
		{"a policy without post-copy", writer, Policy{Mode: model.ModePost, PostCopy: true, Throttle: 0.9}.NoPostCopy(), 0, model.ModeThrottle},
	} {
		got := Choose(c.vm, c.policy, lan, c.gain)
		if got.Mode != c.want || got.Why == "" {
			t.Errorf("%s: %s (%s), want %s", c.name, got.Mode, got.Why, c.want)
		}
	}
	if got := Choose(writer, anything, Way{}, 0); got.Mode != model.ModePre {
		t.Errorf("at no known rate: %s", got.Mode)
	}
}

// TestEstimates: what the modes take of the guest that was measured: seconds of exposure and of lost work, bytes.
func TestEstimates(t *testing.T) {
	about := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got/want-1) > 0.25 {
			t.Errorf("%s: %.2f, measured %.2f", what, got, want)
		}
	}
	e := writer.Estimate(model.ModeHybrid, lan, 0)
	about("hybrid: exposed", e.Exposed.Seconds(), 2.0)
	about("hybrid: work lost", e.Lost.Seconds(), 1.1)
	about("hybrid: bytes", e.Bytes, 68e6)
	e = writer.Estimate(model.ModePost, lan, 0)
	about("post: exposed", e.Exposed.Seconds(), 8.7)
	if e = writer.Estimate(model.ModeThrottle, lan, 0.9); !e.Fits || e.Throttle < 0.4 || e.Pause > lan.Limit+20*time.Millisecond {
		t.Errorf("throttle: %+v", e)
	}
	if e = writer.Estimate(model.ModePre, lan, 0); e.Fits {
		t.Errorf("pre: %+v", e)
	}
	if e = brisk.Estimate(model.ModePre, lan, 0); !e.Fits || e.Time > 3*time.Second {
		t.Errorf("pre of a VM that converges: %+v", e)
	}
}

// TestWrites: what a VM dirties grows with time up to its set, less so when it is throttled; what the looks saw is what it dirtied in their time.
func TestWrites(t *testing.T) {
	w := writer.Writes
	if got := w.within(w.In.Seconds(), 1); math.Abs(got/w.Hot-1) > 0.01 {
		t.Errorf("in the time between the looks: %.0f, they saw %.0f", got, w.Hot)
	}
	if a, b := w.within(1, 1), w.within(1, 0.5); a <= b || w.within(100, 1) > w.Set*1.001 {
		t.Errorf("in a second %.0f, throttled %.0f", a, b)
	}
	if (Writes{}).within(1, 1) != 0 || (Writes{Hot: 10}).Hottest() != 20 {
		t.Error("nothing is known")
	}
}
