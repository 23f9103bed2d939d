package scatter

import (
	"errors"
	"testing"
	"time"
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
	c := newCore([]int{0, 1}, 2, []int{0, 1}, SendConfig{Parallel: 1})
	c.start()
	mustStep := func(e event) []action {
		t.Helper()
		actions, err := c.step(e)
		if err != nil {
			t.Fatal(err)
		}
		return actions
	}
	mustStep(event{kind: evPrepared, vm: 1})
	actions := mustStep(event{kind: evOverdue, vm: 0, state: preparing, err: late})
	if c.vms[0].state != aborting || len(actions) != 2 || actions[0].kind != acAbort || actions[1].kind != acBulk {
		t.Errorf("state %v, %+v", c.vms[0].state, actions)
	}
	if _, err := c.step(event{kind: evOverdue, vm: 1, state: preparing, err: late}); err == nil || c.vms[1].state != prepared {
		t.Errorf("%v, state %v", err, c.vms[1].state)
	}
	for _, s := range []vmState{committing, released, launched, evacuated, doubt} {
		c.vms[1].state = s
		if _, err := c.step(event{kind: evOverdue, vm: 1, state: s, err: late}); err == nil {
			t.Errorf("%v: something was done", s)
		}
	}
}
