package target

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/reclaim"
)

// TestStillAsked: of VMs that were here the newest records stay.
func TestStillAsked(t *testing.T) {
	ended := kit.EndedProcess(t)
	var records []handover.Record
	for vm := range reclaim.KeepRecords + 10 {
		records = append(records, handover.Record{Kind: handover.RecDone, Peer: "source", VM: vm, PID: ended})
	}
	records = append(records, handover.Record{Kind: handover.RecRun, Peer: "source", VM: 9999, PID: os.Getpid()})
	if got := reclaim.StillAsked(records); len(got) != reclaim.KeepRecords+1 || got[0].VM != 10 || got[reclaim.KeepRecords].VM != 9999 {
		t.Errorf("%d records, the first of VM %d, the last of VM %d", len(got), got[0].VM, got[len(got)-1].VM)
	}
}

// TestAdoptDespiteABusyMonitor: a VM that runs here belongs to a manager, which may hold its only monitor.
func TestAdoptDespiteABusyMonitor(t *testing.T) {
	dir := t.TempDir()
	rec := handover.Record{Kind: handover.RecDone, Peer: "source", Evacuation: testEvacuation, Name: "web", Memory: 1 << 20, VCPUs: 3, PID: os.Getpid(),
		Socket: filepath.Join(dir, "web.qmp")}
	busy, err := net.Listen("unix", rec.Socket) // accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	j, _ := enginekit.NewJournal(t, filepath.Join(dir, "recv.journal"))
	if err := j.Append(rec); err != nil {
		t.Fatal(err)
	}
	j.Close()
	s := openSite(t, nil, "target", func(c *Config) { c.RunDir = dir })
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if !s.r.names["web"] || s.r.room.Used != rec.Memory || s.r.room.Cores != rec.VCPUs {
		t.Errorf("names %v, room %+v: not taken over", s.r.names, s.r.room)
	}
}

// TestAdopt: a receiver takes over what another left behind. What is gone is forgotten, a QEMU that lives but does not answer
// keeps its record.
func TestAdopt(t *testing.T) {
	peer := handover.Record{Peer: "source", Evacuation: testEvacuation, Name: "web", Memory: 1 << 20}
	with := func(k handover.RecordKind, vm, pid int) handover.Record {
		r := peer
		r.Kind, r.VM, r.PID, r.Socket = k, vm, pid, filepath.Join(t.TempDir(), "no.qmp")
		return r
	}
	dead := []handover.Record{with(handover.RecPrepare, 0, 0), with(handover.RecPrepare, 1, kit.DeadPID), with(handover.RecLoaded, 2, kit.DeadPID), with(handover.RecDone, 3, kit.DeadPID), with(handover.RecAbort, 4, 1)}
	for name, c := range map[string]struct {
		records []handover.Record
		kept    int
	}{
		"all are gone":                     {dead, 0},
		"one lives, its monitor is silent": {append(dead, with(handover.RecDone, 5, 1)), len(dead) + 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, _ := enginekit.NewJournal(t, filepath.Join(dir, "recv.journal"))
			for _, r := range c.records {
				if err := j.Append(r); err != nil {
					t.Fatal(err)
				}
			}
			j.Close()
			s := openSite(t, nil, "target", func(c *Config) { c.RunDir = dir })
			if n := len(enginekit.ReadJournal(t, s.r.journal.Path)); n != c.kept || len(s.r.names) > 0 || s.r.room.Used > 0 {
				t.Errorf("%d records, names %v, %d bytes of room taken; want %d records", n, s.r.names, s.r.room.Used, c.kept)
			}
			for vm, want := range []control.VMState{control.StateAborted, control.StateAborted, control.StateAborted, control.StateEnded, control.StateAborted} {
				if got := s.r.state(guestKey{sessionKey{"source", testEvacuation}, vm}); got != want {
					t.Errorf("vm %d, which is gone: %s, want %s", vm, got, want)
				}
			}
			s.alive()
		})
	}
}
