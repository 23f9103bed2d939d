package placement

import "github.com/scatter-vm/scatter/placement/problem"

// The parts of a problem; see package problem.
type (
	Problem    = problem.Problem
	VM         = problem.VM
	Host       = problem.Host
	Class      = problem.Class
	Constraint = problem.Constraint
)

// What Solve returns when it has no placement.
type (
	InvalidError    = problem.InvalidError
	InfeasibleError = problem.InfeasibleError
)

// Limits of a Problem.
const (
	MaxVMs         = problem.MaxVMs
	MaxHosts       = problem.MaxHosts
	MaxClasses     = problem.MaxClasses
	MaxOwners      = problem.MaxOwners
	MaxConstraints = problem.MaxConstraints
	MaxBytes       = problem.MaxBytes
)

// Objectives.
const (
	Traffic  = problem.Traffic
	Makespan = problem.Makespan
	Hosts    = problem.Hosts
)

// Ways to count the memory that VMs take on a host.
const (
	Sum    = problem.Sum
	Shared = problem.Shared
)

// Kinds of constraints.
const (
	Pin          = problem.Pin
	Exclude      = problem.Exclude
	Affinity     = problem.Affinity
	AntiAffinity = problem.AntiAffinity
	Label        = problem.Label
)

// Scopes of an anti-affinity.
const (
	ScopeHost = problem.ScopeHost
	ScopeRack = problem.ScopeRack
)

// Resources that an InfeasibleError names.
const (
	Memory = problem.Memory
	VCPUs  = problem.VCPUs
	VMSlot = problem.VMSlot
)
