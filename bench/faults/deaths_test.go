//go:build lab

package faults

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	deathsOnly = flag.String("deaths", "", "regular expression: the cases of TestDeaths that are run")
	deathsKeep = flag.String("deaths-keep", "", "directory for what the programs said in cases that fail")
	deathsTime = flag.Duration("deaths-time", 12*time.Minute, "time after which TestDeaths begins no other case; on two quick cores all fit; 0 = no limit")
	deathRigs  = flag.Int("deaths-rigs", 24, "evacuations of TestDeaths at one time")
)

// caseTime bounds one evacuation with everything that follows from it.
const caseTime = 10 * time.Minute

// TestDeaths kills and freezes each process of an evacuation at each action of the core, before it begins and while it is under way.
// Whatever dies, the VM runs in exactly one place afterwards, with all its memory right, unless its own QEMU was killed while it had
// the only complete copy; nothing is left over; and what send, its report and recover say is true.
func TestDeaths(t *testing.T) {
	if err := dismiss(); err != nil { // the shared guests would be in the way
		t.Fatal(err)
	}
	pattern, err := regexp.Compile(*deathsOnly)
	if err != nil {
		t.Fatal(err)
	}
	cases := slices.DeleteFunc(deathCases(), func(c deathCase) bool { return !pattern.MatchString(c.String()) })
	work := make(chan int)
	s := tally{t: t}
	var rigs sync.WaitGroup
	for range min(*deathRigs, len(cases)) {
		r, err := newRig(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rigs.Go(func() {
			for n := range work {
				v := r.attempt(t.Context(), cases[n], n+1)
				if v.unfit { // nothing was seen of scatter yet
					t.Logf("again: %v: %s", cases[n], strings.Join(v.wrongs, "; "))
					v = r.attempt(t.Context(), cases[n], len(cases)+n+1)
				}
				s.add(cases[n], v)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("%d of %d cases were begun, in an order of this day", s.feed(work, len(cases)), len(cases))
	rigs.Wait()
	s.print()
}

// feed hands out the cases, in an order that each day has for itself: where there is not time for all of them, others have their turn on another day. It
// says how many it has handed out.
func (s *tally) feed(work chan<- int, cases int) (begun int) {
	defer close(work)
	began := time.Now()
	order := rand.New(rand.NewPCG(uint64(began.YearDay()), uint64(began.Year()))).Perm(cases)
	for _, n := range order {
		if *deathsTime > 0 && time.Since(began) > *deathsTime {
			break
		}
		work <- n
		begun++
	}
	return begun
}

// attempt runs one case.
func (r *rig) attempt(ctx context.Context, c deathCase, n int) (v verdict) {
	ctx, cancel := context.WithTimeout(ctx, caseTime)
	defer cancel()
	e, err := r.start(ctx, c, n)
	if err == nil {
		err = e.play()
	}
	switch {
	case err == errHangs:
		v.blame("%v: the tape shows %v", err, e.history)
		_ = e.send.Process.Kill() // it hangs, but may just have ended
		<-e.sent
	case err == nil && !e.harmed:
		v.spared = true
	case err == nil:
		err = e.settle()
	}
	if err == nil && !v.spared {
		v = e.judge()
	}
	if err != nil && err != errHangs {
		v.unfit = true
		v.blame("the test itself: %v", err)
	}
	if len(v.wrongs) > 0 && *deathsKeep != "" {
		e.keep(v)
	}
	if err := e.end(context.WithoutCancel(ctx)); err != nil {
		v.blame("afterwards: %v", err)
	}
	return v
}

// keep writes down what the programs said.
func (e *evacuation) keep(v verdict) {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n%s\n\nhistory: %v\nstruck at: %v\n\n", e.deathCase, strings.Join(v.wrongs, "\n"), e.history, e.struck)
	fmt.Fprintf(&b, "send:\n%s\n%s\n", e.out.String(), strings.Join(e.words, "\n"))
	for _, r := range e.recvs {
		fmt.Fprintf(&b, "recv:\n%s\n", r.Log())
	}
	_ = os.MkdirAll(*deathsKeep, 0o755)
	name := strings.NewReplacer("/", "_", " ", "_").Replace(e.deathCase.String())
	_ = os.WriteFile(filepath.Join(*deathsKeep, name), []byte(b.String()), 0o644) // only for whoever looks into it
}

// tally counts what came of the cases.
type tally struct {
	t  *testing.T
	mu sync.Mutex // guards what follows

	deaths, freezes, spared, lost, doubled, doubts, failed int
	wrong                                                  uint64
}

func (s *tally) add(c deathCase, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case v.spared:
		s.spared++
	case !c.harm.kill:
		s.freezes++
	default:
		s.deaths++
	}
	if v.lost {
		s.lost++
	}
	if v.doubled {
		s.doubled++
	}
	if v.doubt {
		s.doubts++
	}
	s.wrong += v.wrong
	if len(v.wrongs) > 0 {
		s.failed++
		s.t.Errorf("%v: %s", c, strings.Join(v.wrongs, "; "))
	}
}

func (s *tally) print() {
	s.t.Logf("%d deaths, %d freezes (and %d cases whose victim did not live then): VMs lost %d, doubled %d, wrong pages %d; "+
		"%d in doubt because their targets died with Run on its way; %d cases failed",
		s.deaths, s.freezes, s.spared, s.lost, s.doubled, s.wrong, s.doubts, s.failed)
}
