package scatter

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// endedProcess is the number of a process that was there.
func endedProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestJournalShrinks: VMs that come and are given up do not make a target's journal grow for ever; all that recovery could ask for stays,
// and so does the lock.
func TestJournalShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recv.journal")
	j, _ := newJournal(t, path)
	living, ended := os.Getpid(), endedProcess(t)
	cause := strings.Repeat("c", 4000)
	r := func(vm int, k recordKind, pid int) record {
		return record{Kind: k, Evacuation: testEvacuation, Peer: "source", VM: vm, Name: "vm", PID: pid}
	}
	want := []record{r(1, recLoaded, living), r(2, recPrepare, 0), r(3, recDone, ended), r(4, recRun, living)}
	write := func(records ...record) {
		t.Helper()
		for _, r := range records {
			if err := errors.Join(j.Append(r), j.shrink()); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(r(1, recPrepare, living))
	write(want...)
	before := j.size()
	longest := int64(0)
	for vm := 100; vm < 100+2*shrinkFrom/len(cause); vm++ {
		given := r(vm, recAbort, 0)
		given.Cause = cause
		write(r(vm, recPrepare, 0), given)
		longest = max(longest, j.size())
	}
	if longest < shrinkFrom-3*int64(len(cause)) || longest > shrinkFrom {
		t.Errorf("the journal was %d bytes long at most", longest)
	}
	if j.kept == 0 || j.kept >= before {
		t.Errorf("%d bytes were kept, and %d were written", j.kept, before)
	}
	if _, _, err := openJournal(path); !errors.Is(err, ErrJournalBusy) {
		t.Errorf("the journal can be had twice: %v", err)
	}
	got := slices.DeleteFunc(readJournal(t, path), func(r record) bool { return r.VM >= 100 })
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("kept:\n%s", d)
	}
	write(r(5, recLoaded, living))
	if got := readJournal(t, path); got[len(got)-1].VM != 5 {
		t.Errorf("after it was written anew: %+v", got[len(got)-1])
	}
	if exists(path + ".new") {
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
				if other, _, err := openJournal(path); !errors.Is(err, ErrJournalBusy) {
					t.Errorf("the journal can be had: %v", err)
					if err == nil {
						other.Close()
					}
					return
				}
			}
		})
	}
	for range 300 {
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

// TestStillAsked: of VMs that were here the newest records stay.
func TestStillAsked(t *testing.T) {
	ended := endedProcess(t)
	var records []record
	for vm := range keepRecords + 10 {
		records = append(records, record{Kind: recDone, Peer: "source", VM: vm, PID: ended})
	}
	records = append(records, record{Kind: recRun, Peer: "source", VM: 9999, PID: os.Getpid()})
	if got := stillAsked(records); len(got) != keepRecords+1 || got[0].VM != 10 || got[keepRecords].VM != 9999 {
		t.Errorf("%d records, the first of VM %d, the last of VM %d", len(got), got[0].VM, got[len(got)-1].VM)
	}
}

// TestJournalThatCannotShrinkStays: it is in use as before.
func TestJournalThatCannotShrinkStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recv.journal")
	j, _ := newJournal(t, path)
	if err := os.Symlink("/nonexistent/other", path+".new"); err != nil {
		t.Fatal(err)
	}
	long := record{Kind: recAbort, Peer: "source", Cause: strings.Repeat("c", 60<<10)}
	for j.size() < shrinkFrom {
		if err := j.Append(long); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.shrink(); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("shrink: %v", err)
	}
	if err := j.Append(long); err != nil || len(readJournal(t, path)) < 2 {
		t.Errorf("afterwards: %v", err)
	}
}

// TestFullJournalTakesNoVM: what must be known of VMs that are here is still written.
func TestFullJournalTakesNoVM(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, _ := s.guest(0, "web", guestWaiting)
	if err := os.Truncate(s.r.journal.path, 0); err != nil {
		t.Fatal(err)
	}
	s.r.journal.end = maxJournal + 1
	s.r.journal.kept = maxJournal
	if err := s.r.journalRoom(); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("room: %v", err)
	}
	if h := s.held()["journal_bytes"]; h.Held <= h.Most {
		t.Errorf("told: %+v", h)
	}
	s.r.journal.end = 0
	if err := g.record(recAbort); err != nil {
		t.Error(err)
	}
}
