package placement

import "time"

// Placement is a solution.
type Placement struct {
	Host       []int         `json:"host"`          // host of each VM, -1 = not placed
	Cost       int64         `json:"cost"`          // by the objective: bytes, nanoseconds or hosts
	LowerBound int64         `json:"lower_bound"`   // no placement of the same VMs costs less
	Optimal    bool          `json:"optimal"`       // proven
	Traffic    int64         `json:"traffic_bytes"` // over all hosts' and racks' links
	Makespan   time.Duration `json:"makespan_ns"`
	Loads      []Load        `json:"loads"`             // of each host
	Reasons    []Reason      `json:"reasons"`           // of each VM
	Balance    *Balance      `json:"balance,omitempty"` // nil = it was not asked for
	Cut        bool          `json:"cut,omitempty"`     // the clock ended the search: another run may differ
}

// Load is what a host receives.
type Load struct {
	VMs    int   `json:"vms"`
	Memory int64 `json:"memory_bytes"` // as counted by the problem's capacity
	VCPUs  int   `json:"vcpus"`
	Bytes  int64 `json:"bytes"` // of the classes it needs
}

// Reason says why a VM is where it is.
type Reason struct {
	VM    int   `json:"vm"`
	Host  int   `json:"host"`        // -1 = not placed
	Saved int64 `json:"saved_bytes"` // traffic that the next best host would cost on top; negative if only room decided
	Next  int   `json:"next"`        // that host, -1 = no other is allowed
	Room  bool  `json:"room"`        // the next best host had room as well
	With  []int `json:"with"`        // the VMs on the same host that share most with it, at most three
}
