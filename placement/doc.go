// Package placement chooses a host for every VM so that pages which VMs share travel, and are kept, as seldom as possible.
//
// A class is a set of VMs and the bytes that exactly these VMs have in common. Every host that receives one of them
// receives the bytes once, so the traffic of a placement is
//
//	sum over classes of bytes x number of hosts that hold one of the class's VMs
//
// which is the connectivity metric of hypergraph partitioning, with hosts of different size and operators' constraints.
//
// Few VMs are placed exactly. More are placed by simulated annealing and, where a lot of them go to few hosts, by multilevel Fiduccia-Mattheyses
// passes, from many beginnings; what the best placements found have in common is then kept together while the rest is searched again.
//
// Solve does no I/O. Its result depends on the problem and the seed alone, not on the order of VMs, hosts, classes or
// constraints: effort is counted in steps, and the clock is only a safety net (see Problem.Budget).
//
// The way of a problem through the rooms:
//
//	problem -> compile -> model      names become numbers; hypergraph holds what units have in common
//	           bound                 proves by counting that it cannot be done, or costs that nothing undercuts
//	           exact                 few units: all there is
//	           pack                  room for all, for the important, or on the fewest hosts
//	           search                anneal, local (passes, polish) and multilevel, from many beginnings
//	           conflict              without a placement: the smallest part of the problem that has none
//
// All of them change an assignment by the tables of assign. This package decides what is tried, and tells what came of it in the problem's words.
package placement
