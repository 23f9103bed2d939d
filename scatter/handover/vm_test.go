package handover

import (
	"fmt"
	"testing"
)

// TestLossesDecideAtTheNextStep: a side that is lost while a record is being written, or the source completes, changes nothing at once. What
// comes next does not rely on that side any more.
func TestLossesDecideAtTheNextStep(t *testing.T) {
	logged := func(k RecordKind) Event { return Event{Kind: EvLogged, Record: k} }
	for _, c := range []struct {
		state  State
		lost   []EventKind
		event  Event
		want   State
		action actionKind
	}{
		{Committing, []EventKind{EvTargetLost}, logged(RecCommit), Aborting, AcAbort},
		{Committing, []EventKind{EvSourceGone}, logged(RecCommit), Starting, AcLog},
		{Committing, []EventKind{EvSourceGone, EvTargetLost}, logged(RecCommit), Resolving, AcResolve},
		{Released, []EventKind{EvTargetLost}, Event{Kind: EvCompleted}, Undoing, AcLog},
		{Starting, []EventKind{EvTargetLost}, logged(RecRun), Undoing, AcLog},
		{Starting, []EventKind{EvSourceGone}, logged(RecRun), Launched, AcRun},
		{Starting, []EventKind{EvTargetLost, EvSourceGone}, logged(RecRun), Resolving, AcResolve},
		{Undoing, []EventKind{EvTargetLost}, logged(RecAbort), Reverting, AcResume},
		{Undoing, []EventKind{EvSourceGone}, logged(RecAbort), Resolving, AcResolve},
	} {
		t.Run(fmt.Sprint(c.state, c.lost), func(t *testing.T) {
			v := coreVM{index: 3, State: c.state, how: &CoreOptions{}}
			for _, k := range c.lost {
				if k == EvTargetLost {
					v.targetLost(errAway)
				} else if _, err := v.step(Event{Kind: k, VM: 3, Err: errModel}); err != nil {
					t.Fatal(err)
				}
			}
			if v.State != c.state {
				t.Fatalf("at once: %s", v.State)
			}
			c.event.VM = 3
			actions, err := v.step(c.event)
			if err != nil || v.State != c.want || len(actions) != 1 || actions[0].Kind != c.action || actions[0].VM != 3 {
				t.Errorf("%s, %+v, %v: want %s and %s", v.State, actions, err, c.want, c.action)
			}
		})
	}
}
