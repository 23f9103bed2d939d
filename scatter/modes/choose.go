package modes

import (
	"fmt"
	"math"
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
)

// Choice is the mode of a VM, and why it is that.
type Choice struct {
	Estimate
	Why string
}

// Prices, in seconds of a guest's work, of which one that is lost costs one.
const (
	exposedPrice = 0.5  // of a second for which a VM depends on two hosts
	timePrice    = 0.25 // of a second that the evacuation takes longer
	stallPrice   = 1e3  // of a mode that would not come to an end
)

// cost is what a mode costs of which the evacuation takes so much longer than it would otherwise.
func (e Estimate) cost(longer time.Duration) float64 {
	c := e.Lost.Seconds() + e.Contends.Seconds() + exposedPrice*e.Exposed.Seconds() + timePrice*(longer.Seconds()+e.Time.Seconds())
	if !e.Fits {
		c += stallPrice
	}
	return c
}

// order is that in which modes are preferred where they cost the same.
var order = []model.Mode{model.ModePre, model.ModeThrottle, model.ModeHybrid, model.ModePost}

// Choose chooses the mode of a VM among those that its policy allows. gain is by how much sooner all would be done if the VM did not send anything from
// the source any more.
func Choose(v VM, p Policy, way Way, gain time.Duration) Choice {
	if way.Rate <= 0 {
		return Choice{Estimate: Estimate{Mode: p.first(), Fits: true, Pause: FixedPerStop}, Why: "the rate is not known"}
	}
	best, least, pre := Estimate{}, math.Inf(1), Estimate{}
	for _, m := range order {
		way, longer := way, gain
		if m == model.ModePost {
			way.All, longer = way.All-gain, 0
		}
		e := v.Estimate(m, way, p.Throttle)
		if m == model.ModePre {
			pre = e
		}
		if c := e.cost(longer); p.allows(m) && c < least {
			best, least = e, c
		}
	}
	return Choice{best, v.why(best, pre, p, gain)}
}

// first is the mode in which a VM moves of which nothing can be foreseen.
func (p Policy) first() model.Mode {
	if p.Mode == model.ModeAuto {
		return model.ModePre
	}
	return p.Mode
}

// why says in words why a mode was chosen.
func (v VM) why(e, pre Estimate, p Policy, gain time.Duration) string {
	switch {
	case p.Mode != model.ModeAuto:
		return "as the operator wants"
	case e.Mode == model.ModePost:
		return fmt.Sprintf("its guest sends %.0f Mbit/s, which leaves the link to the evacuation once it runs elsewhere: done %v sooner", v.Traffic.Sends*8/1e6, round(gain))
	case e.Mode == model.ModePre && e.Fits:
		return "converges"
	case e.Mode == model.ModeThrottle:
		return fmt.Sprintf("dirties %.0f MB/s: %.0f %% of its processors' time cost less work than to take over without what it writes", v.Writes.Rate()/1e6, 100*e.Throttle)
	case e.Mode == model.ModeHybrid:
		return fmt.Sprintf("dirties %.0f MB/s: to take over without that costs less than to be throttled", v.Writes.Rate()/1e6)
	}
	return fmt.Sprintf("dirties %.0f MB/s, and nothing else may be done with it", v.Writes.Rate()/1e6)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
