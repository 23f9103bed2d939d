// Package journal keeps the records of an evacuation on disk, each there before what it announces is done.
package journal

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

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Error says where a journal is damaged.
type Error struct {
	Path   string
	Line   int
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("journal %s line %d: %s; nothing was decided from it", e.Path, e.Line, e.Reason)
}

// ErrBusy says that a living process owns the journal.
var ErrBusy = errors.New("journal is in use by a running scatter")

const maxRecord = 64 << 10

// Journal is an append-only file of records, one JSON object per line behind the xxh64 of
// its bytes in 16 hex digits. Append returns when the record is on disk. The process that has it open
// holds a lock on it, which the kernel drops with the process.
type Journal struct {
	Path string
	mu   sync.Mutex // guards the fields below: one record at a time
	f    *os.File
	end  int64 // bytes of whole records
	kept int64 // of them, after it was last written anew
}

// Open opens or creates the journal and returns the records that are in it. A last line that
// was cut short by a crash is dropped: what it announced did not happen.
func Open(path string) (*Journal, []handover.Record, error) {
	f, err := system.OpenPlain(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{Path: path, f: f}
	// Where another file is in place by now, its owner has just written it anew, and let go of this one.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil || j.inPlace() != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, ErrBusy)
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

// Peek reads a journal without taking it, and tells whether a living process owns it.
func Peek(path string) (records []handover.Record, busy bool, err error) {
	f, err := system.OpenPlain(path, os.O_RDONLY)
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
func (j *Journal) inPlace() error {
	ours, err := j.f.Stat()
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.Path, err)
	}
	if there, err := os.Lstat(j.Path); err != nil || !os.SameFile(ours, there) {
		return fmt.Errorf("journal %s: was removed or moved while in use: start scatter anew", j.Path)
	}
	return nil
}

// Append writes r and returns when it is on disk, where recover looks for it.
func (j *Journal) Append(r handover.Record) error {
	line, err := lineOf(r)
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.Path, err)
	}
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

// lineOf is a record as it is written.
func lineOf(r handover.Record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err == nil && len(body) > maxRecord {
		err = fmt.Errorf("record of %d bytes", len(body))
	}
	return journalLine(body), err
}

// journalLine puts the checksum before a record.
func journalLine(body []byte) []byte { return fmt.Appendf(nil, "%016x %s\n", xxhash.Sum64(body), body) }

// Close releases the journal.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.f.Close()
}

// readRecords returns the records of r and the length of the part that holds them.
func readRecords(path string, r io.Reader) ([]handover.Record, int64, error) {
	in := bufio.NewReaderSize(r, maxRecord+64)
	var records []handover.Record
	var good int64
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return records, good, nil // a line without its end was never promised
		}
		if err != nil {
			return nil, 0, &Error{path, n, err.Error()}
		}
		rec, reason := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if reason != "" {
			return nil, 0, &Error{path, n, reason}
		}
		records = append(records, rec)
		good += int64(len(line))
	}
}

func parseRecord(line []byte) (handover.Record, string) {
	sum, body, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%016x", xxhash.Sum64(body)) {
		return handover.Record{}, "checksum does not fit"
	}
	var r handover.Record
	if err := json.Unmarshal(body, &r); err != nil {
		return handover.Record{}, err.Error()
	}
	return r, ""
}

// Remove deletes a journal that has nothing more to tell.
func (j *Journal) Remove() error { return os.Remove(j.Path) }

// Clear empties a journal that speaks of nothing that still lives.
func (j *Journal) Clear() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end = 0
	return errors.Join(j.f.Truncate(0), j.f.Sync())
}
