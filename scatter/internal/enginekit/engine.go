// Package enginekit is what tests of several rooms need that knows some of these: recorded streams, plans, journals.
package enginekit

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

var GroupBase = netip.MustParseAddr("239.77.0.0")

// VmsOf makes a class of n contents that the VMs share.
func VmsOf(contents int, vms ...int) planning.ClassInfo {
	return planning.ClassInfo{VMs: vms, Contents: contents, Bytes: int64(contents) * model.PageSize}
}

// MustPlan is a schedule of VMs on host[vm].
func MustPlan(t rapid.TB, hosts int, host []int, classes []planning.ClassInfo, lim planning.GroupLimits) *planning.Schedule {
	t.Helper()
	names := make([]string, hosts)
	for i := range names {
		names[i] = fmt.Sprint("h", i)
	}
	p, err := planning.NewSchedule(names, host, classes, planning.Interleave(host), lim)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// NewJournal opens a journal until the test ends.
func NewJournal(t testing.TB, path string) (*journal.Journal, []handover.Record) {
	t.Helper()
	j, records, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, records
}

const Mib = 1 << 20

// TwoFamilies is a problem of four VMs, of which a and c, b and d share much, and two hosts with room for two each.
func TwoFamilies() planning.Problem {
	p := planning.Problem{
		Hosts:   []placement.Host{{Name: "h0", Memory: 200 * Mib, VCPUs: 8}, {Name: "h1", Memory: 200 * Mib, VCPUs: 8}},
		Classes: []placement.Class{{VMs: []int{0, 2}, Bytes: 60 * Mib}, {VMs: []int{1, 3}, Bytes: 50 * Mib}, {VMs: []int{0, 1, 2, 3}, Bytes: 20 * Mib}},
	}
	for i, name := range []string{"a", "b", "c", "d"} {
		p.VMs = append(p.VMs, placement.VM{Name: name, Memory: 100 * Mib, VCPUs: 1})
		p.Classes = append(p.Classes, placement.Class{VMs: []int{i}, Bytes: int64(i+1) * Mib})
	}
	return p
}

// Changed is twoFamilies after a change.
func Changed(edit func(*planning.Problem)) *planning.Problem {
	p := TwoFamilies()
	edit(&p)
	return &p
}

// KeptPlan is a plan of twoFamilies as it is kept in a file.
func KeptPlan(t *testing.T) *planning.Plan {
	t.Helper()
	p, err := planning.PlanProblem(t.Context(), TwoFamilies(), planning.Network{})
	if err != nil {
		t.Fatal(err)
	}
	p.Problem = nil
	return p
}

// PlacedCount is how many VMs have a host.
func PlacedCount(p *placement.Placement) (n int) {
	for _, h := range p.Host {
		if h >= 0 {
			n++
		}
	}
	return n
}

// ReadJournal are the records of a journal, also of one that is in use.
func ReadJournal(t *testing.T, path string) []handover.Record {
	t.Helper()
	records, _, err := journal.Peek(path)
	if err != nil {
		t.Fatal(err)
	}
	return records
}
