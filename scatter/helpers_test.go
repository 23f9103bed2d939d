package scatter

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

var errAway = errors.New("away")

var groupBase = netip.MustParseAddr("239.77.0.0")

// vmsOf makes a class of n contents that the VMs share.
func vmsOf(contents int, vms ...int) planning.ClassInfo {
	return planning.ClassInfo{VMs: vms, Contents: contents, Bytes: int64(contents) * model.PageSize}
}

func mustPlan(t rapid.TB, hosts int, host []int, classes []planning.ClassInfo, lim planning.GroupLimits) *planning.Schedule {
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

func newJournal(t testing.TB, path string) (*journal.Journal, []handover.Record) {
	t.Helper()
	j, records, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, records
}

const mib = 1 << 20

// twoFamilies is a problem of four VMs, of which a and c, b and d share much, and two hosts with room for two each.
func twoFamilies() planning.Problem {
	p := planning.Problem{
		Hosts:   []placement.Host{{Name: "h0", Memory: 200 * mib, VCPUs: 8}, {Name: "h1", Memory: 200 * mib, VCPUs: 8}},
		Classes: []placement.Class{{VMs: []int{0, 2}, Bytes: 60 * mib}, {VMs: []int{1, 3}, Bytes: 50 * mib}, {VMs: []int{0, 1, 2, 3}, Bytes: 20 * mib}},
	}
	for i, name := range []string{"a", "b", "c", "d"} {
		p.VMs = append(p.VMs, placement.VM{Name: name, Memory: 100 * mib, VCPUs: 1})
		p.Classes = append(p.Classes, placement.Class{VMs: []int{i}, Bytes: int64(i+1) * mib})
	}
	return p
}

// changed is twoFamilies after a change.
func changed(edit func(*planning.Problem)) *planning.Problem {
	p := twoFamilies()
	edit(&p)
	return &p
}

// keptPlan is a plan of twoFamilies as it is kept in a file.
func keptPlan(t *testing.T) *planning.Plan {
	t.Helper()
	p, err := planning.PlanProblem(t.Context(), twoFamilies(), planning.Network{})
	if err != nil {
		t.Fatal(err)
	}
	p.Problem = nil
	return p
}

func placedCount(p *placement.Placement) (n int) {
	for _, h := range p.Host {
		if h >= 0 {
			n++
		}
	}
	return n
}

// evacuationOf is an evacuation before anything was done.
func evacuationOf(cfg SendConfig) *evacuation {
	e := &evacuation{digestOf: make(map[int]chan control.Digested)}
	e.cfg, e.log, e.listener = cfg, slog.New(slog.DiscardHandler), e
	if cfg.Log != nil {
		e.log = cfg.Log
	}
	return e
}
