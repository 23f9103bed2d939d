package main

import (
	"fmt"

	"github.com/scatter-vm/scatter/bench/problem"
	"github.com/scatter-vm/scatter/placement"
)

// instance is a problem to solve and what is promised of its solution. Zero values promise nothing.
type instance struct {
	name    string
	make    func() (p placement.Problem, known int64) // known: the best traffic; 0 = unknown
	exact   bool                                      // the known best must be reached
	near    float64                                   // copies over those of the known best
	vsLong  float64                                   // cost over that of a long search
	gain    float64                                   // part of greedy's cost that is saved
	copies  bool                                      // of the cost beyond the first host of each class, that is
	seconds float64                                   // that the search may take
	oneCore bool                                      // the time is that on one core
	gib     float64                                   // memory that it may take
}

// cases are what is measured.
func cases() (all []instance) {
	for _, s := range [][3]int{{24, 8, 4}, {24, 4, 4}, {48, 8, 6}, {96, 16, 8}} {
		all = append(all, instance{name: fmt.Sprintf("%d VMs of %d families, %d hosts", s[0], s[2], s[1]), exact: true,
			make: func() (placement.Problem, int64) { return problem.Families(s[0], s[1], s[2], 1) }})
	}
	for _, name := range []string{"A", "B", "C", "D", "E"} {
		all = append(all, instance{name: "profile " + name + ", 100 VMs, 8 hosts", vsLong: 0.02, seconds: 1, oneCore: true, make: func() (placement.Problem, int64) {
			p, _, err := problem.Calibrated(problem.Config{Profile: name, VMs: 100, Hosts: 8, Slack: 0.1, Seed: 7})
			if err != nil {
				panic(err) // the configuration is a constant
			}
			return p, 0
		}})
	}
	all = append(all,
		instance{name: "estate, 50 VMs, 4 hosts, 2,000 classes", vsLong: 0.02, seconds: 1, oneCore: true,
			make: unknown(func() placement.Problem { return problem.Estate(50, 4, 2000, 0.05, 1) })},
		instance{name: "estate, 100 VMs, 8 hosts, 5,000 classes", vsLong: 0.02, seconds: 1, oneCore: true,
			make: unknown(func() placement.Problem { return problem.Estate(100, 8, 5000, 0.05, 3) })},
		instance{name: "estate, 200 VMs, 32 hosts, 50,000 classes", vsLong: 0.02, seconds: 1, oneCore: true,
			make: unknown(func() placement.Problem { return problem.Estate(200, 32, 50000, 0.1, 1) })},
		instance{name: "estate, 2,000 VMs, 200 hosts, 500,000 classes", gain: 0.10, seconds: 30, gib: 2,
			make: unknown(func() placement.Problem { return problem.Estate(2000, 200, 500000, 0.1, 1) })})
	for _, hosts := range []int{2, 4} {
		all = append(all, instance{name: fmt.Sprintf("mesh, 12,100 VMs, 23,980 classes, %d hosts", hosts), near: 0.08, seconds: 60,
			make: func() (placement.Problem, int64) { return problem.Mesh(110, hosts) }})
	}
	for _, hosts := range []int{2, 4, 8, 32} {
		all = append(all, instance{name: fmt.Sprintf("netlist, 12,000 VMs, 14,000 classes, %d hosts", hosts), gain: 0.25, copies: true, seconds: 60,
			make: unknown(func() placement.Problem { return problem.Netlist(12000, 14000, hosts, 0.03, 1) })})
	}
	return all
}

func unknown(f func() placement.Problem) func() (placement.Problem, int64) {
	return func() (placement.Problem, int64) { return f(), 0 }
}
