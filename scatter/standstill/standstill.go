// Package standstill keeps back what is not urgent while a VM stands still.
package standstill

import (
	"context"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Keeper keeps back what is not urgent while a VM stands still, and a moment before: its last pages and its target's QEMU get the link and the
// processors first. A VM that stands for longer does not keep others back for longer, and all of them together take no more than a part
// of the time.
type Keeper struct {
	Pacer *multicast.Pacer // of all that leaves

	mu    sync.Mutex
	began time.Time         // when anything might first have been kept back
	until map[int]time.Time // by VM
	ends  time.Time         // the latest of until that there was room for
	spent time.Duration     // for which bulk was kept back
}

// How long others are kept back.
const (
	longestStandstill = 300 * time.Millisecond // for one VM
	FirstSteps        = 120 * time.Millisecond // after the VM runs again: its first accesses to memory take their time
	standstillPart    = 8                      // of the time since the first, in all, beyond what one VM takes
	standstillLook    = 5 * time.Millisecond   // between two looks of a VM whether it may go on
)

// Begin notes that a VM is about to be stopped, or was.
func (s *Keeper) Begin(vm int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.began, s.until = time.Now(), make(map[int]time.Time)
	}
	s.set(vm, longestStandstill)
}

// End notes that a VM runs again. Nothing follows where it was not stopped.
func (s *Keeper) End(vm int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.until[vm]; ok {
		s.set(vm, FirstSteps)
	}
}

// set keeps bulk back for d on account of a VM, whatever was said of that VM before.
func (s *Keeper) set(vm int, d time.Duration) {
	now := time.Now()
	s.until[vm] = now.Add(d)
	s.spent -= max(0, s.ends.Sub(now)) // which did not come to pass
	ends := now
	for _, t := range s.until {
		if t.After(ends) {
			ends = t
		}
	}
	room := longestStandstill + FirstSteps + now.Sub(s.began)/standstillPart - s.spent
	hold := max(0, min(ends.Sub(now), room))
	s.spent += hold
	s.ends = now.Add(hold)
	s.Pacer.Hold(hold)
}

// LetPass returns when a VM that is not about to be stopped need not let others go first. The error is the context's cause.
func (s *Keeper) LetPass(ctx context.Context, vm int) error {
	for s.behind(vm) {
		if err := system.Pause(ctx, standstillLook); err != nil {
			return err
		}
	}
	return nil
}

// behind tells whether others go first.
func (s *Keeper) behind(vm int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, own := s.until[vm]
	return !own && time.Now().Before(s.ends)
}
