package problem

import "testing"

func TestMessages(t *testing.T) {
	for want, err := range map[string]error{
		"no placement for vm a: short of memory, vcpus":                        &InfeasibleError{VMs: []string{"a"}, Resources: []string{Memory, VCPUs}, Proven: true},
		"no placement found for vms a, b: constraint pin":                      &InfeasibleError{VMs: []string{"a", "b"}, Names: []string{"pin"}},
		"no placement for 6 vms (a, b, c, d, e, ...): constraints x, affinity": &InfeasibleError{VMs: []string{"a", "b", "c", "d", "e", "f"}, Names: []string{"x", "affinity"}, Proven: true},
		"placement: vms[3].name: empty":                                        Invalid("empty", "vms[%d].name", 3),
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
