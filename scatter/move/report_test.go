package move

import (
	"testing"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
)

func TestOutcomeIsTheWorst(t *testing.T) {
	for _, c := range []struct {
		states []string
		want   model.Outcome
	}{
		{nil, model.AllEvacuated},
		{[]string{"evacuated", "evacuated"}, model.AllEvacuated},
		{[]string{"evacuated", "on-source"}, model.SomeStay},
		{[]string{"on-source", "in-doubt", "evacuated"}, model.SomeInDoubt},
		{[]string{"converge"}, model.SomeStay},
		{[]string{"", "evacuated"}, model.SomeStay},
	} {
		var r model.Report
		for _, s := range c.states {
			r.VMs = append(r.VMs, model.VMReport{State: s})
		}
		if got := r.Outcome(); got != c.want {
			t.Errorf("%q: %d, want %d", c.states, got, c.want)
		}
	}
	// The report names final states as the core does.
	for s, want := range map[handover.State]model.Outcome{handover.Evacuated: model.AllEvacuated, handover.Stays: model.SomeStay, handover.Doubt: model.SomeInDoubt} {
		if got := (&model.Report{VMs: []model.VMReport{{State: s.String()}}}).Outcome(); got != want {
			t.Errorf("%s: %d, want %d", s, got, want)
		}
	}
}
