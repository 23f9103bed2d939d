package lab

import "testing"

func TestConfigRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no target":        {},
		"too many targets": {Targets: MaxTargets + 1},
		"negative rate":    {Targets: 1, Rate: -1},
		"no kernel":        {Targets: 1, Kernel: "/nonexistent/vmlinuz"},
	} {
		if err := c.validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
