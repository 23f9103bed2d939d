package move

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
)

const (
	timeLook  = 100 * time.Millisecond // how often it is seen how much time is left
	lastTurns = 300 * time.Millisecond // a VM takes to switch over, whatever it has left
)

// watchTime says when there is just time enough for what is to be done by the deadline.
func (e hurrying) watchTime(ctx context.Context) {
	t := time.NewTicker(timeLook)
	defer t.Stop()
	for e.Cfg.Deadline > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if left := e.left(); time.Since(e.Started)+left >= e.Cfg.Deadline {
			err := fmt.Errorf("this host is to be empty after %v, and what is left takes %v", e.Cfg.Deadline, left.Round(timeLook))
			e.Tell(model.Event{Type: "warning", Message: fmt.Sprintf("%v: %s", err, atDeadline[e.Cfg.AtDeadline])})
			e.Post(handover.Event{Kind: handover.EvDeadline, Err: err})
			return
		}
	}
}

// atDeadline says what becomes of VMs.
var atDeadline = map[model.OnStall]string{model.StallKeep: "VMs that have not moved stay", model.StallPause: "VMs that have not moved are stopped for the rest of their way",
	model.StallPost: "VMs that have not moved run on their targets before all of their memory is there"}

// left is how long the way of all VMs would take yet if they were not to change any more, or to take back those that stay.
func (e hurrying) left() time.Duration {
	placed, _ := e.Tracker.Progress()
	sent := e.meter.read()
	packed := 1.0
	if placed > 0 {
		packed = min(1.1, float64(sent.multicast+sent.unicast)/float64(placed))
	}
	bytes, turns := packed*float64(max(0, e.Schedule.Bytes-placed)), 0
	for i, v := range e.migrants {
		v.mu.Lock()
		state := v.state
		v.mu.Unlock()
		if state < handover.Arriving {
			bytes += e.Dirtied(i).Hottest()
			turns++
		}
	}
	if e.Cfg.AtDeadline == model.StallKeep {
		return lastTurns
	}
	return modes.Seconds(bytes/float64(max(1, e.Rate()))) + time.Duration((turns+e.Turns()-1)/e.Turns())*lastTurns
}
