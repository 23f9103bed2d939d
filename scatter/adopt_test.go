package scatter

import (
	"os"
	"testing"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// TestStillAsked: of VMs that were here the newest records stay.
func TestStillAsked(t *testing.T) {
	ended := kit.EndedProcess(t)
	var records []handover.Record
	for vm := range keepRecords + 10 {
		records = append(records, handover.Record{Kind: handover.RecDone, Peer: "source", VM: vm, PID: ended})
	}
	records = append(records, handover.Record{Kind: handover.RecRun, Peer: "source", VM: 9999, PID: os.Getpid()})
	if got := stillAsked(records); len(got) != keepRecords+1 || got[0].VM != 10 || got[keepRecords].VM != 9999 {
		t.Errorf("%d records, the first of VM %d, the last of VM %d", len(got), got[0].VM, got[len(got)-1].VM)
	}
}
