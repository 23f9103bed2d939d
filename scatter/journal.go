package scatter

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/cespare/xxhash/v2"

	"github.com/scatter-vm/scatter/qemu"
)

// recordKind is what a journal record announces. Each is on disk before the act.
type recordKind string

const (
	recBegin    recordKind = "begin"    // source: an evacuation; target: one that reached Begin
	recSettings recordKind = "settings" // source: migration capabilities and parameters of the VM are about to be changed; these it had
	recPrepare  recordKind = "prepare"  // source: VM and its target are about to be touched; target: a QEMU is about to start
	recConverge recordKind = "converge" // source: QEMU is about to migrate
	recPause    recordKind = "pause"    // source: scatter is about to stop the VM
	recLoaded   recordKind = "loaded"   // target: the VM is complete and waits for Run or Abort
	recCommit   recordKind = "commit"   // source: SHUT(0) is about to be given
	recRun      recordKind = "run"      // source: Run is about to be sent; target: cont is about to be given
	recAbort    recordKind = "abort"    // source: the VM is about to be taken back; target: it was given up
	recStayed   recordKind = "stayed"   // source: the VM is known to be here, as it was found
	recDone     recordKind = "done"     // source: the target runs the VM; target: its QEMU has said that it runs
	recEnded    recordKind = "ended"    // source: the VM has ended by itself
	recEnd      recordKind = "end"      // the evacuation has ended, nothing is open
)

// record is one line of a journal. Fields that a kind does not use are empty.
type record struct {
	Kind       recordKind `json:"kind"`
	Evacuation string     `json:"evacuation,omitempty"`
	Peer       string     `json:"peer,omitempty"` // target: the source's name
	VM         int        `json:"vm"`
	Name       string     `json:"name,omitempty"`
	Socket     string     `json:"socket,omitempty"` // QMP socket of the VM on this host
	PID        int        `json:"pid,omitempty"`
	Host       string     `json:"host,omitempty"` // source: target's name and address
	Address    string     `json:"address,omitempty"`
	TLSDir     string     `json:"tls_dir,omitempty"`
	Start      uint64     `json:"start,omitempty"`  // of the process: clock ticks since boot, tells a reused pid apart
	Paused     bool       `json:"paused,omitempty"` // source: was not running when last seen; target: is not to be continued
	State      string     `json:"state,omitempty"`  // source: run state at the switch-over, in QEMU's words
	Memory     int64      `json:"memory,omitempty"`
	VCPUs      int        `json:"vcpus,omitempty"`
	Cause      string     `json:"cause,omitempty"`
	Keep       bool       `json:"keep,omitempty"`   // source, recDone: the source QEMU is to be left, paused
	Untold     bool       `json:"untold,omitempty"` // source: the VM stays, but its target was lost and may hold it, paused

	Caps   map[string]bool  `json:"caps,omitempty"`   // recSettings
	Params *qemu.Parameters `json:"params,omitempty"` // recSettings
}

// JournalError says where a journal is damaged.
type JournalError struct {
	Path   string
	Line   int
	Reason string
}

func (e *JournalError) Error() string {
	return fmt.Sprintf("journal %s line %d: %s; nothing was decided from it", e.Path, e.Line, e.Reason)
}

// ErrJournalBusy says that a living process owns the journal.
var ErrJournalBusy = errors.New("journal is in use by a running scatter")

const maxRecord = 64 << 10

// journal is an append-only file of records, one JSON object per line behind the xxh64 of
// its bytes in 16 hex digits. Append returns when the record is on disk. The process that has it open
// holds a lock on it, which the kernel drops with the process.
type journal struct {
	path string
	mu   sync.Mutex // guards the fields below: one record at a time
	f    *os.File
	end  int64 // bytes of whole records
	kept int64 // of them, after it was last written anew
}

// openJournal opens or creates the journal and returns the records that are in it. A last line that
// was cut short by a crash is dropped: what it announced did not happen.
func openJournal(path string) (*journal, []record, error) {
	f, err := openPlain(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	j := &journal{path: path, f: f}
	// Where another file is in place by now, its owner has just written it anew, and let go of this one.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil || j.inPlace() != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, ErrJournalBusy)
	}
	records, good, err := readRecords(path, f)
	if err == nil {
		err = f.Truncate(good)
	}
	j.end = good
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return j, records, nil
}

// openPlain opens a file that is nothing else: following a link, a journal could cut off any file, and a pipe would wait for ever.
func openPlain(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: remove it", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file: remove it", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// peekJournal reads a journal without taking it, and tells whether a living process owns it.
func peekJournal(path string) (records []record, busy bool, err error) {
	f, err := openPlain(path, os.O_RDONLY)
	if err != nil {
		return nil, false, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	if busy = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil; !busy {
		defer syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	}
	records, _, err = readRecords(path, f)
	return records, busy, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer d.Close()
	return d.Sync()
}

// inPlace makes sure that whoever looks for the journal after a crash will find this one: its directory may have been removed or moved.
func (j *journal) inPlace() error {
	ours, err := j.f.Stat()
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.path, err)
	}
	if there, err := os.Lstat(j.path); err != nil || !os.SameFile(ours, there) {
		return fmt.Errorf("journal %s: was removed or moved while in use: start scatter anew", j.path)
	}
	return nil
}

// Append writes r and returns when it is on disk, where recover looks for it.
func (j *journal) Append(r record) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.path, err)
	}
	if len(body) > maxRecord {
		return fmt.Errorf("journal %s: record of %d bytes", j.path, len(body))
	}
	line := journalLine(body)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.inPlace(); err != nil {
		return err
	}
	_, err = j.f.WriteAt(line, j.end)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		// Half a record must not stay between those that follow.
		return errors.Join(fmt.Errorf("journal: %w", err), j.f.Truncate(j.end))
	}
	j.end += int64(len(line))
	return nil
}

// journalLine puts the checksum before a record.
func journalLine(body []byte) []byte { return fmt.Appendf(nil, "%016x %s\n", xxhash.Sum64(body), body) }

// Close releases the journal.
func (j *journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.f.Close()
}

// readRecords returns the records of r and the length of the part that holds them.
func readRecords(path string, r io.Reader) ([]record, int64, error) {
	in := bufio.NewReaderSize(r, maxRecord+64)
	var records []record
	var good int64
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return records, good, nil // a line without its end was never promised
		}
		if err != nil {
			return nil, 0, &JournalError{path, n, err.Error()}
		}
		rec, reason := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if reason != "" {
			return nil, 0, &JournalError{path, n, reason}
		}
		records = append(records, rec)
		good += int64(len(line))
	}
}

func parseRecord(line []byte) (record, string) {
	sum, body, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%016x", xxhash.Sum64(body)) {
		return record{}, "checksum does not fit"
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return record{}, err.Error()
	}
	return r, ""
}

// remove deletes a journal that has nothing more to tell.
func (j *journal) remove() error { return os.Remove(j.path) }
