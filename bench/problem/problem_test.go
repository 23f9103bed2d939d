package problem

import (
	"math"
	"reflect"
	"testing"

	"github.com/scatter-vm/scatter/placement"
)

func calibrated(t *testing.T, c Config) (placement.Problem, Fractions) {
	t.Helper()
	p, f, err := Calibrated(c)
	if err != nil {
		t.Fatal(err)
	}
	return p, f
}

// TestFractions counts what VMs' memory is made of from the problem alone, and compares it with the profile.
func TestFractions(t *testing.T) {
	for _, profile := range Profiles {
		p, f := calibrated(t, Config{Profile: profile.Name, VMs: 120, Hosts: 8, Slack: 0.1, Seed: 1})
		var memory, shared, alone int64
		for _, v := range p.VMs {
			memory += v.Memory
		}
		for _, c := range p.Classes {
			if len(c.VMs) == 1 {
				alone += c.Bytes
			} else {
				shared += c.Bytes * int64(len(c.VMs))
			}
		}
		zero := 1 - profile.Intra - float64(shared+alone)/float64(memory)
		want := []float64{profile.Zero, profile.Zero, profile.Intra, profile.Shared(), profile.Shared(), profile.Delta, float64(alone) / float64(memory)}
		got := []float64{zero, f.Zero, f.Intra, float64(shared) / float64(memory), f.Shared, f.Delta, f.Delta + f.Unique}
		for i := range want {
			if math.Abs(got[i]-want[i]) > 0.003 {
				t.Errorf("profile %s: fraction %d is %.4f, want %.4f", profile.Name, i, got[i], want[i])
			}
		}
		if n := len(p.Classes); n < 5000 || n > 12200 {
			t.Errorf("profile %s: %d classes", profile.Name, n)
		}
	}
}

// TestVMsHoldWhatTheyOwn: no VM has more in classes than its memory that is not zero and no copy.
func TestVMsHoldWhatTheyOwn(t *testing.T) {
	for _, profile := range Profiles {
		p, _ := calibrated(t, Config{Profile: profile.Name, VMs: 50, Hosts: 4, Classes: 40, Slack: 0, Seed: 2})
		owned := map[int]int64{}
		for _, c := range p.Classes {
			for _, v := range c.VMs {
				owned[v] += c.Bytes
			}
		}
		for v, bytes := range owned {
			if most := (1-profile.Zero-profile.Intra)*float64(p.VMs[v].Memory) + 2*page; float64(bytes) > most {
				t.Errorf("profile %s: vm %d owns %d of %.0f bytes", profile.Name, v, bytes, most)
			}
		}
	}
}

func TestSameConfigSameProblem(t *testing.T) {
	c := Config{Profile: "E", VMs: 40, Hosts: 4, Racks: 2, Slack: 0.1, Seed: 5}
	p, _ := calibrated(t, c)
	q, _ := calibrated(t, c)
	c.Seed = 6
	r, _ := calibrated(t, c)
	if !reflect.DeepEqual(p, q) || reflect.DeepEqual(p.VMs, r.VMs) {
		t.Error("the problem does not depend on the seed alone")
	}
}

// TestHostsTakeTheVMs without any slack, whatever the sizes.
func TestHostsTakeTheVMs(t *testing.T) {
	for seed := range uint64(20) {
		p, _ := calibrated(t, Config{Profile: "D", VMs: 30, Hosts: 7, Classes: 10, Seed: seed})
		p.Budget = 1e7
		if _, err := placement.Solve(t.Context(), p); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func TestInvalidConfigs(t *testing.T) {
	for _, c := range []Config{
		{}, {Profile: "X", VMs: 1, Hosts: 1}, {Profile: "A", VMs: MaxVMs + 1, Hosts: 1}, {Profile: "A", VMs: 1}, {Profile: "A", VMs: 1, Hosts: 1, Racks: 2},
		{Profile: "A", VMs: 2, Hosts: 1, Families: 3}, {Profile: "A", VMs: 2, Hosts: 1, Memory: 1<<20 + 1}, {Profile: "A", VMs: 2, Hosts: 1, Slack: math.NaN()},
		{Profile: "A", VMs: 2, Hosts: 1, Classes: -1},
	} {
		if _, _, err := Calibrated(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

func TestSmallestFleets(t *testing.T) {
	for _, profile := range Profiles {
		p, _ := calibrated(t, Config{Profile: profile.Name, VMs: 1, Hosts: 1, Memory: 1 << 20})
		if len(p.Classes) != 1 {
			t.Errorf("profile %s: %d classes", profile.Name, len(p.Classes))
		}
	}
}
