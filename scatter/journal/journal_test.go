package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/system"
)

// fullRecord has every field set.
var fullRecord = handover.Record{Kind: handover.RecCommit, Evacuation: "00112233445566ff", Peer: "source", VM: 3, Name: "web", Socket: "/run/web.qmp", PID: 4711,
	Host: "target", Address: "target=10.0.0.2:7000", TLSDir: "/etc/pki", Paused: true, Memory: 1 << 29, VCPUs: 2, Cause: "no room", Start: 99, State: "running",
	Caps: map[string]bool{"events": true}, Params: json.RawMessage(`{"downtime-limit":300}`)}

var someRecords = []handover.Record{{Kind: handover.RecBegin, TLSDir: "/etc/pki"}, {Kind: handover.RecPrepare, VM: 0, Name: "web\nline", PID: 12}, fullRecord, {Kind: handover.RecRun, VM: 1}, {Kind: handover.RecEnd}}

func newJournal(t testing.TB, path string) (*Journal, []handover.Record) {
	t.Helper()
	j, records, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, records
}

// writtenJournal is the bytes of a journal of someRecords.
func writtenJournal(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "written")
	j, _ := newJournal(t, path)
	for _, r := range someRecords {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return kit.ReadFile(t, path)
}

func TestJournalRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	kit.WriteFile(t, path, writtenJournal(t))
	j, got := newJournal(t, path)
	if d := cmp.Diff(someRecords, got); d != "" {
		t.Errorf("records changed:\n%s", d)
	}
	if err := j.Append(fullRecord); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, got := newJournal(t, path); len(got) != len(someRecords)+1 || !reflect.DeepEqual(got[len(got)-1], fullRecord) {
		t.Errorf("after another record: %+v", got)
	}
}

// TestJournalLine keeps the format: a later scatter must read what an earlier one left behind in a crash.
func TestJournalLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := newJournal(t, path)
	if err := j.Append(handover.Record{Kind: handover.RecRun, VM: 2, Name: "web"}); err != nil {
		t.Fatal(err)
	}
	const want = `3c48110bcda3c591 {"kind":"run","vm":2,"name":"web"}` + "\n"
	if got := string(kit.ReadFile(t, path)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestJournalPrefixes cuts a journal everywhere, as a crash in a write may: what was promised is there, what was cut is
// dropped.
func TestJournalPrefixes(t *testing.T) {
	whole := writtenJournal(t)
	for n := range whole {
		got, good, err := readRecords("j", bytes.NewReader(whole[:n]))
		want := bytes.Count(whole[:n], []byte("\n"))
		if err != nil || len(got) != want || want > 0 && !cmp.Equal(got, someRecords[:want]) {
			t.Fatalf("cut to %d bytes: %d records, want %d, %v", n, len(got), want, err)
		}
		if end := bytes.LastIndexByte(whole[:n], '\n') + 1; good != int64(end) {
			t.Fatalf("cut to %d bytes: %d of them are good, want %d", n, good, end)
		}
	}
}

// TestJournalGoesOnAfterACut: the next record goes where the cut one was.
func TestJournalGoesOnAfterACut(t *testing.T) {
	whole := writtenJournal(t)
	path := filepath.Join(t.TempDir(), "j")
	for n := 0; n < len(whole); n += 31 {
		want := bytes.Count(whole[:n], []byte("\n"))
		kit.WriteFile(t, path, whole[:n])
		j, _, err := Open(path)
		if err != nil {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if err := j.Append(fullRecord); err != nil {
			t.Fatal(err)
		}
		j.Close()
		again, _, err := readRecords(path, bytes.NewReader(kit.ReadFile(t, path)))
		if err != nil || len(again) != want+1 || !reflect.DeepEqual(again[want], fullRecord) {
			t.Fatalf("cut to %d bytes and continued: %d records, %v", n, len(again), err)
		}
	}
}

// TestJournalDamage: nothing is decided from a journal that was changed, and nothing in it is overwritten.
func TestJournalDamage(t *testing.T) {
	whole := writtenJournal(t)
	second := bytes.IndexByte(whole, '\n') + 1
	cases := map[string][]byte{
		"a bit in the body":     kit.Flip(whole, second+40),
		"a bit in the checksum": kit.Flip(whole, second+3),
		"a line missing half":   append(bytes.Clone(whole[:second+10]), whole[bytes.IndexByte(whole[second:], '\n')+second:]...),
		"an empty line":         append([]byte("\n"), whole...),
		"not JSON":              append(checked("not json"), whole...),
		"a longer line":         append(checked(strings.Repeat("x", maxRecord+100)), whole...),
		"another file":          []byte("#!/bin/sh\nexit 0\n"),
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "j")
			kit.WriteFile(t, path, b)
			_, _, err := Open(path)
			bad, ok := errors.AsType[*Error](err)
			if !ok || bad.Path != path || bad.Line < 1 || bad.Line > 2 || bad.Reason == "" {
				t.Errorf("got %v, want a *Error", err)
			}
			if !bytes.Equal(kit.ReadFile(t, path), b) {
				t.Error("the damaged journal was changed")
			}
		})
	}
}

// checked is a line whose checksum fits.
func checked(body string) []byte {
	sum, _, _ := strings.Cut(string(journalLine([]byte(body))), " ")
	return fmt.Appendf(nil, "%s %s\n", sum, body)
}

func TestJournalBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := newJournal(t, path)
	if _, _, err := Open(path); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), path) {
		t.Errorf("second owner: %v", err)
	}
	j.Close()
	newJournal(t, path) // its owner has ended
}

func TestJournalCannotBeOpened(t *testing.T) {
	if _, _, err := Open(filepath.Join(t.TempDir(), "missing", "j")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestJournalRecordIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := newJournal(t, path)
	if err := j.Append(handover.Record{Name: strings.Repeat("x", maxRecord)}); err == nil {
		t.Error("a record was written that cannot be read")
	}
	if err := j.Append(handover.Record{Cause: strings.Repeat("x", maxRecord-100)}); err != nil {
		t.Error(err)
	}
	j.Close()
	if _, got := newJournal(t, path); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
}

// TestJournalWriteFails: a full disk takes half a record. The error is told, and the half does not damage what follows.
func TestJournalWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := newJournal(t, path)
	if err := j.Append(fullRecord); err != nil {
		t.Fatal(err)
	}
	long := handover.Record{Kind: handover.RecAbort, Cause: strings.Repeat("c", 60<<10)}
	for range 4 { // longer than what else this process writes meanwhile
		if err := j.Append(long); err != nil {
			t.Fatal(err)
		}
	}
	size := uint64(len(kit.ReadFile(t, path)))
	kit.LimitFiles(t, size+30, func() {
		if err := j.Append(fullRecord); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("got %v", err)
		}
	})
	if n := len(kit.ReadFile(t, path)); n != int(size) {
		t.Errorf("%d bytes are left of the failed record", n-int(size))
	}
	if err := j.Append(handover.Record{Kind: handover.RecAbort}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, got := newJournal(t, path); len(got) != 6 || got[5].Kind != handover.RecAbort {
		t.Errorf("records %+v", got)
	}
}

func TestJournalClear(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	kit.WriteFile(t, path, writtenJournal(t))
	j, _ := newJournal(t, path)
	if err := j.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(handover.Record{Kind: handover.RecBegin}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, got := newJournal(t, path); len(got) != 1 || got[0].Kind != handover.RecBegin {
		t.Errorf("after clear and a record: %+v", got)
	}
}

func TestJournalConcurrentAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := newJournal(t, path)
	var wg sync.WaitGroup
	for vm := range 8 {
		wg.Go(func() {
			for range 10 {
				if err := j.Append(handover.Record{Kind: handover.RecConverge, VM: vm, Name: strings.Repeat("x", 100*vm)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	j.Close()
	if _, got := newJournal(t, path); len(got) != 80 {
		t.Errorf("%d records of 80", len(got))
	}
}

func TestJournalRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := newJournal(t, path)
	if err := j.Remove(); err != nil || system.Exists(path) {
		t.Errorf("removed: %v, still there: %v", err, system.Exists(path))
	}
}

// FuzzReadRecords: any bytes give records that were written whole, or a *Error; never both.
func FuzzReadRecords(f *testing.F) {
	whole := writtenJournal(f)
	f.Add(whole)
	f.Add(whole[:len(whole)-7])
	f.Add(kit.Flip(whole, 30))
	f.Add(checked(`{"kind":"run","vm":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, good, err := readRecords("j", bytes.NewReader(b))
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || records != nil || good != 0 {
				t.Fatalf("%d records, %d bytes, %v", len(records), good, err)
			}
			return
		}
		if good > int64(len(b)) || bytes.Count(b[:good], []byte("\n")) != len(records) || bytes.Contains(b[good:], []byte("\n")) {
			t.Fatalf("%d records in the first %d of %d bytes", len(records), good, len(b))
		}
	})
}

// TestJournalIsAFile: what is a link, a pipe or a directory is neither cut off nor waited for.
func TestJournalIsAFile(t *testing.T) {
	dir := t.TempDir()
	victim, link, pipe := filepath.Join(dir, "victim"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	paths := []string{link, pipe, dir}
	tried.Inputs(t, "file in the journal's place", len(paths))
	for _, path := range paths {
		if _, _, err := Open(path); err == nil {
			t.Errorf("%s is taken for a journal", path)
		}
		if _, _, err := Peek(path); err == nil {
			t.Errorf("%s is read as a journal", path)
		}
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestJournalThatIsGone: a record that nobody would find is not one.
func TestJournalThatIsGone(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"removed":            func(dir string) error { return os.Remove(filepath.Join(dir, "j")) },
		"with its directory": os.RemoveAll,
		"moved":              func(dir string) error { return os.Rename(dir, dir+".old") },
		"another": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "j")), os.WriteFile(filepath.Join(dir, "j"), nil, 0o600))
		},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		j, _ := newJournal(t, filepath.Join(dir, "j"))
		if err := errors.Join(j.Append(fullRecord), harm(dir)); err != nil {
			t.Fatal(err)
		}
		if err := j.Append(fullRecord); err == nil || !strings.Contains(err.Error(), "removed or moved") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
