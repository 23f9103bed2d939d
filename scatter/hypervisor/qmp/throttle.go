package qmp

import (
	"context"
	"errors"
	"math"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/quota"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
)

// readyToThrottle chooses what the VM can be throttled by: a quota of its threads, or QEMU's own throttle where there is none to be had. With a
// threshold of 1 % and steps of 99 % that goes to the most that it is allowed, up or down, when memory was dirtied in two periods of a second
// at least (migration/ram.c, migration_trigger_throttle).
func (s *Source) readyToThrottle(ctx context.Context) error {
	err := s.measureUse(ctx)
	if err != nil {
		return s.named(err)
	}
	if s.quota, err = quota.Of(s.use); err == nil {
		return nil
	}
	s.quota = nil
	if err := s.SetCapabilities(ctx, map[string]bool{"auto-converge": true}); err != nil {
		return s.named(err)
	}
	return s.named(s.SetParameters(ctx, qemu.Parameters{ThrottleTrigger: new(uint64(1)), ThrottleInitial: new(uint64(1)),
		ThrottleIncrement: new(uint64(99)), ThrottleMax: new(uint64(1))}))
}

// measureUse begins to measure what the VM's processors use, unless that is being done. The sooner, the better: nothing may have been taken yet.
func (s *Source) measureUse(ctx context.Context) error {
	if s.use != nil {
		return nil
	}
	threads, err := s.VCPUThreads(ctx)
	if err == nil {
		s.use, err = quota.Measure(s.VM.PID, threads)
	}
	return err
}

// Brake throttles the VM.
func (s *Source) Brake() hypervisor.Brake { return brake{s} }

// brake is a VM's throttle.
type brake struct{ s *Source }

// mostPercent is the most that QEMU's throttle is told. It has a processor work for 10 ms and then sleep: at 95 % for 0.2 s, and what the guest wants
// to write comes in heaps.
const mostPercent = 95

// Most is what the VM's use leaves to be taken: little of one that works little.
func (b brake) Most() float64 {
	worked, err := busy(b.s.use)
	if err != nil {
		return 0
	}
	if _, err := quota.Of(b.s.use); err == nil {
		return max(0, 1-quota.Least/(worked*float64(b.s.use.Threads())))
	}
	return max(0, 1-(1-mostPercent/100.0)/worked)
}

// Take takes a share of the VM's processor time.
func (b brake) Take(ctx context.Context, share float64) error {
	s := b.s
	if s.quota != nil {
		return s.named(s.quota.Take(share))
	}
	if _, err := s.use.Settle(); err != nil {
		return s.named(err)
	}
	worked, err := busy(s.use)
	if err != nil {
		return s.named(err)
	}
	percent := min(mostPercent, max(1, math.Round(100*(1-worked*(1-share)))))
	return s.named(s.SetParameters(ctx, qemu.Parameters{ThrottleInitial: new(uint64(percent)), ThrottleMax: new(uint64(percent))}))
}

// busy is the part of its time that each of the VM's processors works. QEMU's throttle leaves a part of time, not of use: one that works little
// would not notice it.
func busy(u *quota.Use) (float64, error) {
	if u == nil {
		return 0, errors.New("the use of its processors is not measured")
	}
	use, err := u.Processors()
	return min(1, use/float64(u.Threads())), err
}

// Taken is the share that is taken now. QEMU throttles some seconds later, and only what dirties.
func (b brake) Taken(now qemu.MigrationInfo) float64 {
	s := b.s
	if s.quota != nil {
		return s.quota.Taken()
	}
	if now.ThrottlePercentage == 0 {
		return 0
	}
	worked, err := busy(s.use)
	if err != nil {
		return 0
	}
	return max(0, 1-(1-float64(now.ThrottlePercentage)/100)/worked)
}
