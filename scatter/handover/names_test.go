package handover

import "testing"

// TestNamesOfTheCore: each state, event and action has a name of its own, for traces and logs.
func TestNamesOfTheCore(t *testing.T) {
	seen := make(map[string]bool)
	once := func(kind, name string) {
		if name == "" || seen[kind+name] {
			t.Errorf("%s %q: empty, or used twice", kind, name)
		}
		seen[kind+name] = true
	}
	for s := Planned; s <= Doubt; s++ {
		once("state", s.String())
	}
	for k := EvPrepared; k <= EvDeadline; k++ {
		once("event", k.String())
	}
	for k := AcPrepare; k <= AcFinal; k++ {
		once("action", k.String())
	}
	if got := State(200).String(); got != "state 200" {
		t.Errorf("got %q", got)
	}
}
