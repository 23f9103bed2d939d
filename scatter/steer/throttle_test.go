package steer

import (
	"math"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
)

// writer is a guest that writes to pages of a hot set at random, and converges by passes that take as long as the link takes for them.
type writer struct {
	hot, cold float64 // bytes; cold ones are written once, before
	writes    float64 // bytes/s
	rate      float64 // bytes/s of the link
}

// moved is what became of a writer.
type moved struct {
	last   Order
	passes int
	time   float64 // s
	lost   float64 // s of the guest's work
	pause  time.Duration
	most   float64 // throttle
}

// converge plays the passes of a writer through.
func (w writer) converge(s *Steering) (m moved) {
	s.Rate = int64(w.rate)
	o := Observation{Remaining: int64(w.hot + w.cold)}
	pass := (w.hot+w.cold)/4e9 + w.hot/w.rate // the first goes over all pages, of which bulk has sent the cold ones as they are
	for m.passes = 1; m.passes < 100; m.passes++ {
		m.last = s.Step(o)
		if m.last == SwitchOver || m.last == GiveUp {
			m.pause = s.Predicted
			return m
		}
		m.most = max(m.most, s.Throttle)
		m.lost += s.Throttle * pass
		m.time += pass
		dirty := w.hot * (1 - math.Exp(-w.writes*(1-s.Throttle)*pass/w.hot))
		o = Observation{Throttled: s.Throttle, At: o.At + time.Duration(pass*1e9), Remaining: int64(dirty), Processed: o.Processed + o.Remaining/model.PageSize + 1, Sent: o.Sent}
		o.Sent += int64(pass * w.rate)
		pass = dirty / w.rate
	}
	return m
}

// TestThrottleConverges: a VM is throttled no longer, and no more, than it takes for the pause that is allowed; and one that converges by itself is
// not throttled.
func TestThrottleConverges(t *testing.T) {
	const mb = 1e6
	for name, c := range map[string]struct {
		writer
		most      float64
		order     Order
		passes    int
		lost      float64 // at most
		throttled bool
	}{
		"calm":                       {writer{20 * mb, 100 * mb, 5 * mb, 37.5 * mb}, 0.9, SwitchOver, 4, 0, false},
		"idle":                       {writer{1 * mb, 100 * mb, 0.01 * mb, 37.5 * mb}, 0.9, SwitchOver, 2, 0, false},
		"busy, but converges":        {writer{64 * mb, 200 * mb, 20 * mb, 37.5 * mb}, 0.9, SwitchOver, 6, 0, false},
		"as fast as the link":        {writer{200 * mb, 200 * mb, 37 * mb, 37.5 * mb}, 0.9, SwitchOver, 6, 2.5, true},
		"twice as fast":              {writer{67 * mb, 200 * mb, 80 * mb, 37.5 * mb}, 0.9, SwitchOver, 8, 2.2, true},
		"twice as fast, large":       {writer{2000 * mb, 200 * mb, 80 * mb, 37.5 * mb}, 0.9, SwitchOver, 8, 60, true},
		"ten times as fast":          {writer{67 * mb, 200 * mb, 400 * mb, 37.5 * mb}, 0.99, SwitchOver, 8, 3.5, true},
		"too fast for what it may":   {writer{670 * mb, 200 * mb, 4000 * mb, 37.5 * mb}, 0.5, GiveUp, 12, 100, true},
		"twice as fast, unthrottled": {writer{67 * mb, 200 * mb, 80 * mb, 37.5 * mb}, 0, GiveUp, 8, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Steering{Limit: 300 * time.Millisecond, MostThrottle: c.most}
			m := c.converge(s)
			if m.last != c.order || m.passes > c.passes || m.lost > c.lost || m.most > c.most || (m.most > 0) != c.throttled {
				t.Errorf("%+v, want %s within %d passes, at most %.1f s lost, throttled %v", m, c.order, c.passes, c.lost, c.throttled)
			}
			if m.last == SwitchOver && m.pause > s.Limit {
				t.Errorf("pause %v", m.pause)
			}
		})
	}
}

// TestThrottleIsTakenBack: a VM that has calmed down gets its processors back before it is switched over.
func TestThrottleIsTakenBack(t *testing.T) {
	w := writer{67e6, 2e8, 8e7, 37.5e6}
	s := &Steering{Limit: 300 * time.Millisecond, MostThrottle: 0.9, Rate: int64(w.rate)}
	w.converge(s)
	if s.Throttle == 0 {
		t.Fatal("it was not throttled")
	}
	before := s.Throttle
	o := s.last
	o.At, o.Remaining, o.Processed, o.Sent = o.At+20*time.Second, 20e6, o.Processed+5000, o.Sent+20e6
	if got := s.Step(o); got != Throttle || s.Throttle >= before {
		t.Errorf("%s, throttle %.2f after %.2f", got, s.Throttle, before)
	}
}

// TestThrottleThatLags: a VM is not given up before what was ordered is taken, but it is, should that never be.
func TestThrottleThatLags(t *testing.T) {
	s := &Steering{Limit: 300 * time.Millisecond, MostThrottle: 0.9, Rate: 37.5e6}
	o := Observation{}
	next := func(throttled float64) Order {
		o.At, o.Remaining, o.Processed, o.Sent, o.Throttled = o.At+1800*time.Millisecond, 64e6, o.Processed+64e6/model.PageSize, o.Sent+64e6, throttled
		return s.Step(o)
	}
	for pass := range 4 {
		if got := next(0); got == GiveUp {
			t.Fatalf("given up after %d passes", pass+1)
		}
	}
	if s.Throttle == 0 {
		t.Fatal("it was not throttled")
	}
	passes := 0
	for next(s.Throttle) != GiveUp {
		if passes++; passes > 3*stallPasses {
			t.Fatal("a VM that is throttled as much as it may is not given up")
		}
	}
	if s.Throttle != s.MostThrottle {
		t.Errorf("given up with a throttle of %v", s.Throttle)
	}
	s = &Steering{Limit: 300 * time.Millisecond, MostThrottle: 0.5, Rate: 37.5e6}
	o = Observation{}
	for passes = 0; next(0) != GiveUp; passes++ {
		if passes > 20 {
			t.Fatal("waits for ever for what is never taken")
		}
	}
}

// TestThrottleFromTheFirstPass: one of which the scan tells that it dirties too fast is not given a pass for nothing.
func TestThrottleFromTheFirstPass(t *testing.T) {
	w := writer{67e6, 2e8, 8e7, 37.5e6}
	late := w.converge(&Steering{Limit: 300 * time.Millisecond, MostThrottle: 0.9})
	early := w.converge(&Steering{Limit: 300 * time.Millisecond, MostThrottle: 0.9, Writes: modes.Writes{Hot: 40e6, In: 500 * time.Millisecond}})
	if early.last != SwitchOver || early.passes >= late.passes || early.time > 0.7*late.time {
		t.Errorf("%+v, without knowing %+v", early, late)
	}
	calm := writer{20e6, 1e8, 5e6, 37.5e6}
	if m := calm.converge(&Steering{Limit: 300 * time.Millisecond, MostThrottle: 0.9, Writes: modes.Writes{Hot: 2.5e6, In: 500 * time.Millisecond}}); m.most > 0 {
		t.Errorf("a calm one was throttled: %+v", m)
	}
}
