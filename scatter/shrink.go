package scatter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Bounds of a target's journal, in bytes. VMs come and go for as long as a receiver lives.
const (
	maxJournal  = 16 << 20 // more than that, and no VM is taken in
	shrinkFrom  = 1 << 20
	keepRecords = 1024 // of VMs whose QEMU has ended
)

// size is the length of the journal in bytes.
func (j *journal) size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.end
}

// shrink writes a target's journal anew when it has become long, with nothing but what recovery could still ask for. One that cannot be
// written anew stays as it is.
func (j *journal) shrink() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.end < max(shrinkFrom, 2*j.kept) {
		return nil
	}
	records, _, err := readRecords(j.path, io.NewSectionReader(j.f, 0, j.end))
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, r := range stillAsked(records) {
		body, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("journal %s: %w", j.path, err)
		}
		lines.Write(journalLine(body))
	}
	f, err := j.replace(lines.Bytes())
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.path, err)
	}
	j.f.Close()
	j.f, j.end, j.kept = f, int64(lines.Len()), int64(lines.Len())
	return nil
}

// replace puts another file into the journal's place, in one step: whoever looks for the journal finds one of the two, and it is locked.
func (j *journal) replace(body []byte) (*os.File, error) {
	path := j.path + ".new"
	f, err := openPlain(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
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
		err = os.Rename(path, j.path)
	}
	if err != nil {
		f.Close()
		return nil, errors.Join(err, os.Remove(path))
	}
	// It is in place, even if the directory's entry is not on disk yet: then the old one is found, which says the same.
	_ = syncDir(filepath.Dir(path))
	return f, nil
}

// stillAsked are the last records of the VMs that a receiver or a source may have to decide: those whose QEMU lives or is being
// started, and the newest of those that were here. One that was given up is as good as one that never came.
func stillAsked(records []record) []record {
	vms, _ := histories(records)
	var kept []record
	gone := 0
	for i := len(vms) - 1; i >= 0; i-- {
		r := vms[i].last
		switch {
		case r.Kind == recAbort:
			continue
		case r.PID != 0 && processGone(r.PID):
			if gone++; gone > keepRecords {
				continue
			}
		}
		kept = append(kept, r)
	}
	slices.Reverse(kept)
	return kept
}
