package serial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/wait"
)

// Line is what one guest prints, wherever it runs. What was seen of it stays after it has been dropped.
type Line struct {
	guest string
	every time.Duration // between beats
	logs  []*log        // one for each host
}

// Path returns where the guest's serial line goes while it runs on h, given that paths in the source's directory are
// rewritten to h's.
func Path(h *lan.Host, guest string) string { return filepath.Join(h.Dir, guest+".serial") }

// Beats returns the guest's heartbeats on all hosts, in the order of time.
func (l *Line) Beats() []Beat {
	var all []Beat
	for _, s := range l.logs {
		all = append(all, s.Beats()...)
	}
	slices.SortStableFunc(all, func(a, b Beat) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.N, b.N)) })
	return all
}

// lastBeat returns the guest's last heartbeat on any host.
func (l *Line) lastBeat() (last Beat, ok bool) {
	for _, s := range l.logs {
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
func (l *Line) Health() Health {
	var h Health
	beats := l.Beats()
	h.Beats = len(beats)
	for i, b := range beats {
		h.Verified, h.Wrong = max(h.Verified, b.Verified), max(h.Wrong, b.Wrong)
		if i > 0 && b.N <= beats[i-1].N {
			h.Twice = append(h.Twice, fmt.Sprintf("beat %d on %s came after beat %d on %s",
				b.N, b.Host.Name, beats[i-1].N, beats[i-1].Host.Name))
		}
	}
	for _, s := range l.logs {
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
func (l *Line) LongestPause(from, to time.Time) Pause {
	return l.longest(from, to, func(Beat, Beat) bool { return true })
}

// Crossing is the longest time between two heartbeats on different hosts, the later of which came between from and to.
func (l *Line) Crossing(from, to time.Time) Pause {
	return l.longest(from, to, func(a, b Beat) bool { return a.Host != b.Host })
}

// longest is the longest pause between two beats that count.
func (l *Line) longest(from, to time.Time, counts func(a, b Beat) bool) Pause {
	var longest Pause
	var last Beat
	for _, b := range l.Beats() {
		if !last.At.IsZero() && b.At.After(from) && !b.At.After(to) && counts(last, b) {
			if length := b.At.Sub(last.At) - l.every; length > longest.Length {
				longest = Pause{length, last, b}
			}
		}
		last = b
	}
	return longest
}

// VerifiedBy is how many pages the guest had verified at a moment, as its last beat before that says.
func (l *Line) VerifiedBy(at time.Time) (n uint64) {
	for _, b := range l.Beats() {
		if b.At.After(at) {
			break
		}
		n = b.Verified
	}
	return n
}

// AwaitVerified waits until the guest has verified so many pages more, and returns an error if it was harmed.
func (l *Line) AwaitVerified(ctx context.Context, pages int) error {
	start, _ := l.lastBeat()
	want := start.Verified + uint64(pages)
	for {
		last, _ := l.lastBeat()
		if last.Verified >= want {
			return l.Health().Err()
		}
		if err := wait.For(ctx, 5*pollInterval); err != nil {
			return errors.Join(fmt.Errorf("guest %s: %d of %d pages to verify: %w", l.guest, want-last.Verified, want-start.Verified, err),
				l.Health().Err())
		}
	}
}

// pollInterval is how often the lab looks whether what it waits for is there.
const pollInterval = 4 * time.Millisecond

// patience is for how long a guest is watched to say that it beats; it bears with a machine that is very busy.
const patience = 5 * time.Second

// ErrSilent is why a guest counts as not running though its QEMU says that it runs.
var ErrSilent = errors.New("does not beat")

// BeatsOnlyOn waits for a few heartbeats on h, and returns an error if there are any elsewhere, or ErrSilent.
func (l *Line) BeatsOnlyOn(ctx context.Context, h *lan.Host) error {
	counts := func() (here, elsewhere int) {
		for _, s := range l.logs {
			if n := len(s.Beats()); s.host == h {
				here += n
			} else {
				elsewhere += n
			}
		}
		return here, elsewhere
	}
	// What was printed elsewhere before may still be on its way into the log.
	if err := wait.For(ctx, look); err != nil {
		return err
	}
	here, elsewhere := counts()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if err := wait.For(ctx, pollInterval); err != nil {
			return err
		}
		switch h2, e2 := counts(); {
		case e2 > elsewhere:
			return fmt.Errorf("runs on %s, but beats elsewhere", h.Name)
		case h2 >= here+5:
			return nil
		}
	}
	return fmt.Errorf("runs on %s, but %w; %s", h.Name, ErrSilent, l.ending())
}

// ending says where the line ends.
func (l *Line) ending() string {
	last, _ := l.lastBeat()
	where := "nowhere"
	if last.Host != nil {
		where = fmt.Sprintf("on %s %v ago", last.Host.Name, time.Since(last.At).Round(time.Millisecond))
	}
	return fmt.Sprintf("last beat %d %s; console %q", last.N, where, l.Console())
}

// AwaitBeat waits until the guest beats on h.
func (l *Line) AwaitBeat(ctx context.Context, h *lan.Host) error {
	for {
		if last, ok := l.lastBeat(); ok && last.Host == h {
			return nil
		}
		if err := wait.For(ctx, pollInterval); err != nil {
			return fmt.Errorf("guest %s: no heartbeat on %s: %w", l.guest, h.Name, err)
		}
	}
}

// Console returns the end of what the guest printed besides heartbeats, on all hosts.
func (l *Line) Console() string {
	var lines []string
	for _, s := range l.logs {
		lines = append(lines, s.Lines()...)
	}
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
