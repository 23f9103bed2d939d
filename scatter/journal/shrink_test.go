package journal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/system"
)

// stillOpen are the last records of VMs that were not given up.
func stillOpen(records []handover.Record) (open []handover.Record) {
	vms, _ := handover.Histories(records)
	for _, h := range vms {
		if h.Last.Kind != handover.RecAbort {
			open = append(open, h.Last)
		}
	}
	return open
}

// recordsIn are the records of a journal.
func recordsIn(t *testing.T, path string) []handover.Record {
	t.Helper()
	records, _, err := Peek(path)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// TestJournalShrinks: VMs that come and are given up do not make a target's journal grow for ever; all that recovery could ask for stays,
// and so does the lock.
func TestJournalShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recv.journal")
	j, _ := newJournal(t, path)
	living, ended := os.Getpid(), kit.EndedProcess(t)
	cause := strings.Repeat("c", 4000)
	r := func(vm int, k handover.RecordKind, pid int) handover.Record {
		return handover.Record{Kind: k, Evacuation: "00112233445566ff", Peer: "source", VM: vm, Name: "vm", PID: pid}
	}
	want := []handover.Record{r(1, handover.RecLoaded, living), r(2, handover.RecPrepare, 0), r(3, handover.RecDone, ended), r(4, handover.RecRun, living)}
	write := func(records ...handover.Record) {
		t.Helper()
		for _, r := range records {
			if err := errors.Join(j.Append(r), j.Shrink(stillOpen)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(r(1, handover.RecPrepare, living))
	write(want...)
	before := j.Size()
	longest := int64(0)
	for vm := 100; vm < 100+2*shrinkFrom/len(cause); vm++ {
		given := r(vm, handover.RecAbort, 0)
		given.Cause = cause
		write(r(vm, handover.RecPrepare, 0), given)
		longest = max(longest, j.Size())
	}
	if longest < shrinkFrom-3*int64(len(cause)) || longest > shrinkFrom {
		t.Errorf("the journal was %d bytes long at most", longest)
	}
	if j.kept == 0 || j.kept >= before {
		t.Errorf("%d bytes were kept, and %d were written", j.kept, before)
	}
	if _, _, err := Open(path); !errors.Is(err, ErrBusy) {
		t.Errorf("the journal can be had twice: %v", err)
	}
	got := slices.DeleteFunc(recordsIn(t, path), func(r handover.Record) bool { return r.VM >= 100 })
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("kept:\n%s", d)
	}
	write(r(5, handover.RecLoaded, living))
	if got := recordsIn(t, path); got[len(got)-1].VM != 5 {
		t.Errorf("after it was written anew: %+v", got[len(got)-1])
	}
	if system.Exists(path + ".new") {
		t.Error("something stays beside it")
	}
}

// TestShrinkingLeavesNoGap: whoever asks for a journal while its owner writes it anew finds that it is in use.
func TestShrinkingLeavesNoGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recv.journal")
	j, _ := newJournal(t, path)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if other, _, err := Open(path); !errors.Is(err, ErrBusy) {
					t.Errorf("the journal can be had: %v", err)
					if err == nil {
						other.Close()
					}
					return
				}
			}
		})
	}
	for range 100 {
		j.mu.Lock()
		f, err := j.replace(nil)
		if err != nil {
			t.Fatal(err)
		}
		j.f.Close()
		j.f = f
		j.mu.Unlock()
	}
}

// TestJournalThatCannotShrinkStays: it is in use as before.
func TestJournalThatCannotShrinkStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recv.journal")
	j, _ := newJournal(t, path)
	if err := os.Symlink("/nonexistent/other", path+".new"); err != nil {
		t.Fatal(err)
	}
	long := handover.Record{Kind: handover.RecAbort, Peer: "source", Cause: strings.Repeat("c", 60<<10)}
	for j.Size() < shrinkFrom {
		if err := j.Append(long); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Shrink(stillOpen); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("shrink: %v", err)
	}
	if err := j.Append(long); err != nil || len(recordsIn(t, path)) < 2 {
		t.Errorf("afterwards: %v", err)
	}
}
