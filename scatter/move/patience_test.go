package move

import (
	"errors"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/handover"
)

// TestHangGuard: a VM that stands still is taken back after 20 s in which its target takes next to nothing, and not before.
func TestHangGuard(t *testing.T) {
	at := func(seconds int) time.Time { return time.Unix(1000+int64(seconds), 0) }
	g := hangGuard{since: at(0)}
	for _, c := range []struct {
		second int
		stands bool
		sent   int64
		want   bool
	}{
		{30, false, 0, false}, {31, true, 100, false}, {49, true, 200, false}, {50, true, 300, true}, // a drop now and then
		{51, true, 2 << 20, false}, {60, true, 3 << 20, false}, {79, true, 3 << 20, false}, {80, true, 3 << 20, true},
		{81, false, 3 << 20, false}, {101, true, 3 << 20, true},
	} {
		if got := g.hangs(at(c.second), c.stands, c.sent); got != c.want {
			t.Errorf("second %d: %v", c.second, got)
		}
	}
}

// TestOverdue: a VM whose target does not answer stays, and the others go on; what is overdue in another state is nothing.
func TestOverdue(t *testing.T) {
	late := errors.New("too late")
	c := handover.NewCore([]int{0, 1}, []int{0, 1}, handover.CoreOptions{Parallel: 1})
	c.Start()
	mustStep := func(e handover.Event) []handover.Action {
		t.Helper()
		actions, err := c.Step(e)
		if err != nil {
			t.Fatal(err)
		}
		return actions
	}
	mustStep(handover.Event{Kind: handover.EvPrepared, VM: 1})
	actions := mustStep(handover.Event{Kind: handover.EvOverdue, VM: 0, State: handover.Preparing, Err: late})
	if c.VMs[0].State != handover.Aborting || len(actions) != 2 || actions[0].Kind != handover.AcAbort || actions[1].Kind != handover.AcBulk {
		t.Errorf("state %v, %+v", c.VMs[0].State, actions)
	}
	if _, err := c.Step(handover.Event{Kind: handover.EvOverdue, VM: 1, State: handover.Preparing, Err: late}); err == nil || c.VMs[1].State != handover.Prepared {
		t.Errorf("%v, state %v", err, c.VMs[1].State)
	}
	for _, s := range []handover.State{handover.Committing, handover.Released, handover.Launched, handover.Evacuated, handover.Doubt} {
		c.VMs[1].State = s
		if _, err := c.Step(handover.Event{Kind: handover.EvOverdue, VM: 1, State: s, Err: late}); err == nil {
			t.Errorf("%v: something was done", s)
		}
	}
}
