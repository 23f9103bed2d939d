package flags

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// modes are the flags that say how VMs pass to their targets, also those that dirty memory faster than the link carries.
type modes struct {
	mode        string
	onStall     string
	maxThrottle float64
	deadline    time.Duration
	atDeadline  string
}

func (m *modes) add(f *pflag.FlagSet) {
	f.StringVar(&m.mode, "mode", "auto", "how VMs move: `auto|pre|throttle|hybrid|post`, that is each as it costs least; or with all of their memory; or so, and slowed down, no more than it takes, where they dirty it too fast; or without what they dirty too fast, which follows; or at once, and all of their memory follows")
	f.StringVar(&m.onStall, "on-stall", "", "a VM that dirties memory faster than the link carries: `keep|pause|throttle|post|any`, that is leave it here, stop it and finish, slow it down, have its target run it without what it dirties, which follows, or these two as needed (default: any with mode auto, else keep)")
	f.DurationVar(&m.deadline, "deadline", 0, "the host is to be empty after this `time` from the start (default: none)")
	f.StringVar(&m.atDeadline, "at-deadline", "keep", "VMs that have not moved when there is just time enough for it: `keep|pause|post`, that is leave them here, stop them for the rest of their way, or have their targets run them before all of their memory is there")
	f.Float64Var(&m.maxThrottle, "max-throttle", scatter.DefaultThrottle, "the most of its processors' time that is taken from a VM that is slowed down, a `share` of 1")
}

// read checks the flags, and tells the engine.
func (m *modes) read(cfg *scatter.SendConfig) error {
	cfg.Mode, cfg.OnStall, cfg.Throttle = scatter.Mode(m.mode), scatter.OnStall(m.onStall), m.maxThrottle
	cfg.Deadline, cfg.AtDeadline = m.deadline, scatter.OnStall(m.atDeadline)
	switch {
	case m.deadline < 0:
		return usage.Errorf("--deadline %v: must not be negative", m.deadline)
	case !cfg.AtDeadline.AtDeadline():
		return usage.Errorf("--at-deadline %q: must be keep, pause or post", m.atDeadline)
	case !(m.maxThrottle > 0 && m.maxThrottle <= scatter.MostThrottle):
		return usage.Errorf("--max-throttle %v: must be more than 0, and at most %v", m.maxThrottle, scatter.MostThrottle)
	case m.onStall != "" && !cfg.OnStall.Valid():
		return usage.Errorf("--on-stall %q: must be keep, pause, throttle, post or any", m.onStall)
	case !cfg.Mode.Valid():
		return usage.Errorf("--mode %q: must be auto, pre, throttle, hybrid or post", m.mode)
	}
	return nil
}
