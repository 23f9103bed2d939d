package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Bounds of a target's journal, in bytes. VMs come and go for as long as a receiver lives.
const (
	MaxJournal = 16 << 20 // more than that, and no VM is taken in
	shrinkFrom = 1 << 20
)

// Size is the length of the journal in bytes.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.end
}

// Shrink writes a target's journal anew when it has become long, with nothing but the records that still count. One that cannot be
// written anew stays as it is.
func (j *Journal) Shrink(still func([]handover.Record) []handover.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.end < max(shrinkFrom, 2*j.kept) {
		return nil
	}
	records, _, err := readRecords(j.Path, io.NewSectionReader(j.f, 0, j.end))
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, r := range still(records) {
		line, err := lineOf(r)
		if err != nil {
			return fmt.Errorf("journal %s: %w", j.Path, err)
		}
		lines.Write(line)
	}
	f, err := j.replace(lines.Bytes())
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.Path, err)
	}
	j.f.Close()
	j.f, j.end, j.kept = f, int64(lines.Len()), int64(lines.Len())
	return nil
}

// replace puts another file into the journal's place, in one step: whoever looks for the journal finds one of the two, and it is locked.
func (j *Journal) replace(body []byte) (*os.File, error) {
	path := j.Path + ".new"
	f, err := system.OpenPlain(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		_, err = f.Write(body)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(path, j.Path)
	}
	if err != nil {
		f.Close()
		return nil, errors.Join(err, os.Remove(path))
	}
	// It is in place, even if the directory's entry is not on disk yet: then the old one is found, which says the same.
	_ = syncDir(filepath.Dir(path))
	return f, nil
}
