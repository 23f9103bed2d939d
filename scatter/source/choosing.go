package source

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/refusals"
	"github.com/scatter-vm/scatter/scatter/system"
)

// policy is what may be done with a VM, by what the operator has said of all and of this one.
func (c *Config) policy(vm string) modes.Policy {
	rule := c.Rules.VMs[vm]
	p := modes.Policy{Mode: c.Mode}
	if rule.Mode != "" {
		p.Mode = rule.Mode
	}
	if p.Mode == model.ModeThrottle || c.OnStall == model.StallThrottle || c.OnStall == model.StallAny {
		p.Throttle = c.Throttle
	}
	p.PostCopy = p.Mode.TakesOver() || c.OnStall == model.StallPost || c.OnStall == model.StallAny
	p.Hurried = c.Deadline > 0 && c.AtDeadline == model.StallPost
	p.Must = (p.Mode.TakesOver() || c.OnStall == model.StallPost) && p.Mode != model.ModeAuto
	if rule.NeverPostCopy {
		if p.Mode.TakesOver() {
			p.Throttle = c.Throttle // instead
		}
		p = p.NoPostCopy()
	}
	if c.Verify && !p.Must { // digests what is there before the VM runs
		p = p.NoPostCopy()
	}
	return p
}

// checkModes checks what is said of modes.
func (c *Config) checkModes() error {
	if !c.OnStall.Valid() {
		return fmt.Errorf("on-stall %q: must be keep, pause, throttle, post or any", c.OnStall)
	}
	if !c.Prefetch.Valid() {
		return fmt.Errorf("prefetch %q: must be none, forward or bubble", c.Prefetch)
	}
	if !c.Mode.Valid() {
		return fmt.Errorf("mode %q: must be auto, pre, throttle, hybrid or post", c.Mode)
	}
	if !c.AtDeadline.AtDeadline() {
		return fmt.Errorf("at-deadline %q: must be keep, pause or post", c.AtDeadline)
	}
	if c.Throttle < 0 || c.Throttle > model.MostThrottle {
		return fmt.Errorf("throttle %v: must be 0 to %v", c.Throttle, model.MostThrottle)
	}
	if c.Verify && c.MustPostCopy() {
		return errVerify
	}
	for _, vm := range slices.Sorted(maps.Keys(c.Rules.VMs)) {
		switch r := c.Rules.VMs[vm]; {
		case r.Mode != "" && !r.Mode.Valid():
			return fmt.Errorf("vm %s: mode %q: must be auto, pre, throttle, hybrid or post", vm, r.Mode)
		case r.NeverPostCopy && r.Mode.TakesOver():
			return fmt.Errorf("vm %s: mode %s is post-copy, and it must never be moved by that", vm, r.Mode)
		case c.Verify && c.policy(vm).Must:
			return fmt.Errorf("vm %s: %w", vm, errVerify)
		}
	}
	return nil
}

// errVerify is why a digest and post-copy exclude each other.
var errVerify = errors.New("verify: a VM in post-copy runs before its memory is there, so there is nothing to compare: use mode auto, pre or throttle, and another on-stall than post")

// setModeDefaults completes what is said of modes.
func (c *Config) setModeDefaults() {
	if c.Mode == "" {
		c.Mode = model.ModeAuto
	}
	if c.OnStall == "" {
		c.OnStall = model.StallKeep
		if c.Mode == model.ModeAuto {
			c.OnStall = model.StallAny
		}
	}
	c.Prefetch = cmp.Or(c.Prefetch, model.PrefetchBubble)
	if c.AtDeadline == "" {
		c.AtDeadline = model.StallKeep
	}
	if c.Throttle == 0 {
		c.Throttle = model.DefaultThrottle
	}
}

// MustPostCopy tells whether the operator wants VMs to take over before they have all of their memory.
func (c *Config) MustPostCopy() bool {
	return c.Mode.TakesOver() || c.Deadline > 0 && c.AtDeadline == model.StallPost || c.OnStall == model.StallPost && c.Mode != model.ModeAuto && c.Mode != ""
}

// neverTakesOver notes why a VM has to have all of its memory before it runs on its target.
func (v *VM) neverTakesOver(why string) (err error) {
	v.Policy, v.noPostCopy = v.Policy.NoPostCopy(), why
	v.Header, err = system.WithoutAdvise(v.Header)
	return err
}

// settle leaves VMs without post-copy whose targets cannot do that.
func (e *Planned) settle() error {
	for _, v := range e.VMs {
		if why := e.Refused.WhyNoPostCopy(refusals.Question{Host: v.Host, VM: v.Number}); v.Host >= 0 && why != "" && v.Policy.Prepares() {
			if err := v.neverTakesOver(e.HostName(v.Host) + ": " + why); err != nil {
				return fmt.Errorf("vm %s: %w", v.Name(), err)
			}
		}
	}
	return nil
}

// choose chooses the mode in which each VM moves, of an evacuation that would take so long if all were pre-copy. A kept plan's choice stands.
func (e *Planned) choose(f *planning.Forecaster, all time.Duration) {
	rate := f.Rate / float64(e.Turns())
	for i, v := range e.VMs {
		line := &f.VMs[i]
		is := modes.VM{Memory: line.Memory, Writes: e.Dirtied(i), Traffic: v.Traffic}
		v.Policy = v.Policy.Brake(v.Brake().Most())
		policy := v.Policy
		if kept := e.Cfg.Plan; kept != nil {
			policy = policy.Keep(kept.ModeOf(v.Name()))
		}
		way := modes.Way{Rate: min(rate, e.leftAt(v.Host)), Fill: min(f.Rate, e.leftAt(v.Host)), Limit: e.Cfg.Downtime, All: all}
		line.Mode = modes.Choose(is, policy, way, e.gain(v, f.Rate, all))
		if v.noPostCopy != "" && !line.Mode.Fits {
			line.Mode.Why += "; no post-copy: " + v.noPostCopy
		}
		v.Mode, v.choice = line.Mode.Mode, line.Mode
		e.Log.Info("mode", "vm", v.Name(), "mode", v.Mode, "why", line.Mode.Why, "writes", is.Writes, "traffic", is.Traffic)
	}
}

// sayMode says in a VM's line of the plan how it moves, and why so.
func (e *Planned) sayMode(line *planning.PlanVM, v *VM) {
	c := v.choice
	line.Mode, line.ModeReason, line.Throttle, line.LostS = v.Mode, c.Why, c.Throttle, c.Lost.Seconds()
	if v.Traffic.Known {
		line.SendsBPS, line.ReceivesBPS = new(int64(8*v.Traffic.Sends)), new(int64(8*v.Traffic.Receives))
	}
}

// leftAt is what a target's link can take beside what passes it already, in bytes/s, as far as that is known.
func (e *Planned) leftAt(host int) float64 {
	if host < 0 || e.posed.Hosts[host].LinkBPS == 0 {
		return math.Inf(1)
	}
	link := float64(e.posed.Hosts[host].LinkBPS) / 8
	if used := e.Links[host].Welcome.Traffic; used != nil {
		return max(leastLeft*link, link-float64(used.Received))
	}
	return link
}

// gain is by how much sooner an evacuation would be done, that would take so long at this rate, if a VM's guest did not send from here any more.
func (e *Planned) gain(v *VM, rate float64, all time.Duration) time.Duration {
	if rate == 0 {
		return 0
	}
	without := float64(e.rateBeside(e.guestsSend() - v.Traffic.Sends))
	return time.Duration(float64(all) * max(0, 1-rate/max(rate, without)))
}

// guestsSend is what all guests send, in bytes/s, as far as it is known.
func (e *Party) guestsSend() (sum float64) {
	for _, v := range e.VMs {
		sum += v.Traffic.Sends
	}
	return sum
}
