package policy

import "testing"

// TestUnconfinable: where the kernel cannot confine, images that lead elsewhere are refused.
func TestUnconfinable(t *testing.T) {
	j := &judge{}
	for value, ok := range map[string]bool{"qcow2": false, "qed": false, "raw": true, "luks": true} {
		if _, err := blockDriver(j, value); (err == nil) != ok {
			t.Errorf("%s: %v", value, err)
		}
	}
	trusting := &judge{Policy: Policy{Unconfined: true}}
	if _, err := blockDriver(trusting, "qcow2"); err != nil {
		t.Error(err)
	}
}
