package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Beats returns the guest's heartbeats on all hosts, in the order of time.
func (g *Guest) Beats() []Beat {
	var all []Beat
	for _, s := range g.logs {
		all = append(all, s.Beats()...)
	}
	slices.SortStableFunc(all, func(a, b Beat) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.N, b.N)) })
	return all
}

// lastBeat returns the guest's last heartbeat on any host.
func (g *Guest) lastBeat() (last Beat, ok bool) {
	for _, s := range g.logs {
		if beats := s.Beats(); len(beats) > 0 && beats[len(beats)-1].At.After(last.At) {
			last, ok = beats[len(beats)-1], true
		}
	}
	return last, ok
}

// Health is what a guest's serial lines say about it.
type Health struct {
	Beats    int
	Verified uint64   // pages
	Wrong    uint64   // pages
	Reports  []string // the guest's own words about wrong pages, and its panics
	Twice    []string // beats that say that the guest ran in two places, or went back in time
}

// Health reads the guest's serial lines.
func (g *Guest) Health() Health {
	var h Health
	beats := g.Beats()
	h.Beats = len(beats)
	for i, b := range beats {
		h.Verified, h.Wrong = max(h.Verified, b.Verified), max(h.Wrong, b.Wrong)
		if i > 0 && b.N <= beats[i-1].N {
			h.Twice = append(h.Twice, fmt.Sprintf("beat %d on %s came after beat %d on %s",
				b.N, b.Host.Name, beats[i-1].N, beats[i-1].Host.Name))
		}
	}
	for _, s := range g.logs {
		for _, line := range s.Lines() {
			if strings.Contains(line, "CORRUPT") || strings.Contains(strings.ToLower(line), "panic") {
				h.Reports = append(h.Reports, line)
			}
		}
	}
	return h
}

// Err returns nil if the guest's memory is as it must be and it never ran in two places.
func (h Health) Err() error {
	if h.Wrong == 0 && len(h.Reports) == 0 && len(h.Twice) == 0 {
		return nil
	}
	return fmt.Errorf("guest harmed: %d wrong pages, reports %q, twice %q",
		h.Wrong, h.Reports[:min(5, len(h.Reports))], h.Twice[:min(5, len(h.Twice))])
}

// Pause is a time in which a guest did not beat.
type Pause struct {
	Length   time.Duration // beyond the usual time between beats
	From, To Beat
}

// LongestPause returns the longest time between two of the guest's heartbeats, the later of which came between from and to. Seen from
// outside, this is the down-time of a move that began and ended between these times.
func (g *Guest) LongestPause(from, to time.Time) Pause {
	var longest Pause
	var last Beat
	for _, b := range g.Beats() {
		if !last.At.IsZero() && b.At.After(from) && !b.At.After(to) {
			if length := b.At.Sub(last.At) - g.Config.Workload.Beat; length > longest.Length {
				longest = Pause{length, last, b}
			}
		}
		last = b
	}
	return longest
}

// AwaitVerified waits until the guest has verified all its pages once more, and returns an error if it was harmed.
func (g *Guest) AwaitVerified(ctx context.Context) error {
	start, _ := g.lastBeat()
	want := start.Verified + uint64(g.Config.Workload.Pages())
	for {
		last, _ := g.lastBeat()
		if last.Verified >= want {
			return g.Health().Err()
		}
		if err := sleep(ctx, 5*pollInterval); err != nil {
			return errors.Join(fmt.Errorf("guest %s: %d of %d pages to verify: %w", g.Name, want-last.Verified, want-start.Verified, err),
				g.Health().Err())
		}
	}
}

// pollInterval is how often the lab looks whether what it waits for is there.
const pollInterval = 4 * time.Millisecond

// patience is for how long a guest is watched to say that it beats; it bears with a machine that is very busy.
const patience = 5 * time.Second

// beatsOnlyOn waits for a few heartbeats on h, and returns an error if there are none, or any elsewhere.
func (g *Guest) beatsOnlyOn(ctx context.Context, h *Host) error {
	counts := func() (here, elsewhere int) {
		for _, s := range g.logs {
			if n := len(s.Beats()); s.host == h {
				here += n
			} else {
				elsewhere += n
			}
		}
		return here, elsewhere
	}
	// What was printed elsewhere before may still be on its way into the log.
	if err := sleep(ctx, look); err != nil {
		return err
	}
	here, elsewhere := counts()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if err := sleep(ctx, pollInterval); err != nil {
			return err
		}
		switch h2, e2 := counts(); {
		case e2 > elsewhere:
			return fmt.Errorf("runs on %s, but beats elsewhere", h.Name)
		case h2 >= here+5:
			return nil
		}
	}
	return fmt.Errorf("runs on %s, but does not beat; %s", h.Name, g.silence(ctx, h))
}

// silence says what can be seen of a guest on h that does not beat: whether its processor runs, and whether its serial port, by which it
// would beat, has lost an interrupt.
func (g *Guest) silence(ctx context.Context, h *Host) string {
	last, _ := g.lastBeat()
	where := "nowhere"
	if last.Host != nil {
		where = fmt.Sprintf("on %s %v ago", last.Host.Name, time.Since(last.At).Round(time.Millisecond))
	}
	told := []string{fmt.Sprintf("last beat %d %s; console %q", last.N, where, g.Console())}
	m, err := g.MonitorOn(ctx, h)
	if err != nil {
		return fmt.Sprint(told, err)
	}
	defer m.Close()
	// The registers twice: a processor that runs has others by then.
	for _, line := range []string{"info status", "i /b 0x3f9", "i /b 0x3fd", "info pic", "info registers", "info registers"} {
		text, err := m.Human(ctx, line)
		if err != nil {
			text = err.Error()
		}
		told = append(told, line+": "+strings.TrimSpace(text))
	}
	return strings.Join(told, "\n")
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// AwaitBeat waits until the guest beats on h.
func (g *Guest) AwaitBeat(ctx context.Context, h *Host) error {
	for {
		if last, ok := g.lastBeat(); ok && last.Host == h {
			return nil
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return fmt.Errorf("guest %s: no heartbeat on %s: %w", g.Name, h.Name, err)
		}
	}
}
