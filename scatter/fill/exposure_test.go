package fill

import "testing"

// TestOneVMIsExposedAtATime until it is no more.
func TestOneVMIsExposedAtATime(t *testing.T) {
	var x Exposure
	first := x.Begin(0)
	if again := x.Begin(0); !first || !again || x.Begin(3) {
		t.Error("two are exposed, or none")
	}
	if x.End(3); x.Begin(3) {
		t.Error("one that was not exposed ends it for another")
	}
	if x.End(0); !x.Begin(3) {
		t.Error("nobody is exposed, and nobody may be")
	}
}
